"""Tiny encoders with random weights of the classes that are not made by ``tiny_encoder.py``."""

from pathlib import Path
from typing import Any, Callable, Dict

from .tiny_encoder import WORDS, make_tiny_bert

WIDTH = 32
SENTENCES = [" ".join(WORDS[i : i + 12]) for i in range(0, len(WORDS), 3)]
SENTENCES += ["The E. coli (gut-brain axis) of 12 mice: 5-HT, p<0.05; 3.5 % of cells/mm2 [b]."] * 3


def make_tiny_electra(folder, **settings: Any) -> str:
    """ELECTRA: word pieces as BERT, embeddings narrower than the hidden states, no pooler."""
    from transformers import ElectraConfig, ElectraModel, ElectraTokenizerFast

    return _of_word_pieces(
        folder,
        ElectraTokenizerFast,
        lambda shape: ElectraModel(ElectraConfig(embedding_size=16, **shape)),
        settings,
    )


def make_tiny_gatortron(folder, **settings: Any) -> str:
    """GatorTron's class: Megatron-BERT, which normalises before each layer."""
    from transformers import BertTokenizerFast, MegatronBertConfig, MegatronBertModel

    return _of_word_pieces(
        folder,
        BertTokenizerFast,
        lambda shape: MegatronBertModel(MegatronBertConfig(**shape)),
        settings,
    )


def make_tiny_xlm_roberta(folder, max_positions: int = 128, seed: int = 0) -> str:
    """XLM-R: SentencePiece, and two positions that no piece takes."""
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast

    path = Path(folder)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    _save_unigram(path, special, before=["<s>"])
    tokenizer = XLMRobertaTokenizerFast(
        tokenizer_file=str(path / "tokenizer.json"), model_max_length=max_positions
    )
    tokenizer.save_pretrained(str(path))
    shape = {**_shape(len(tokenizer), max_positions + 2), "pad_token_id": tokenizer.pad_token_id}
    _save(lambda: XLMRobertaModel(XLMRobertaConfig(**shape)), path, seed)
    return str(path)


def make_tiny_t5(folder, max_positions: int = 128, *, seed: int = 0, whole: bool = True) -> str:
    """T5: SentencePiece, relative positions; with its decoder (``whole``) or the encoder half."""
    from transformers import T5Config, T5EncoderModel, T5Model, T5TokenizerFast

    path = Path(folder)
    _save_unigram(path, ["<pad>", "</s>", "<unk>"])
    tokenizer = T5TokenizerFast(
        tokenizer_file=str(path / "tokenizer.json"), model_max_length=max_positions, extra_ids=10
    )
    tokenizer.save_pretrained(str(path))
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    _save(lambda: (T5Model if whole else T5EncoderModel)(config), path, seed)
    return str(path)


CLASSES: Dict[str, Callable[..., str]] = {
    "bert": make_tiny_bert,
    "electra": make_tiny_electra,
    "gatortron": make_tiny_gatortron,
    "xlm_roberta": make_tiny_xlm_roberta,
    "t5": make_tiny_t5,
}


def _of_word_pieces(folder, tokenizer_class, make: Callable[[dict], Any], settings: dict) -> str:
    """The tokenizer and vocabulary of the tiny BERT under another class of model."""
    from transformers import AutoTokenizer

    path = Path(make_tiny_bert(folder, **settings))
    tokenizer = AutoTokenizer.from_pretrained(str(path))
    shape = _shape(len(tokenizer), tokenizer.model_max_length)
    _save(lambda: make(shape), path, settings.get("seed", 0))
    tokenizer_class.from_pretrained(str(path)).save_pretrained(str(path))
    return str(path)


def _shape(vocab_size: int, positions: int) -> Dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": positions,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.3,
    }


def _save(make: Callable[[], Any], path: Path, seed: int) -> None:
    import torch

    state = torch.get_rng_state()
    torch.manual_seed(seed)
    make().save_pretrained(str(path))
    torch.set_rng_state(state)


def _save_unigram(path: Path, special: list, before: list = ()) -> None:  # type: ignore[assignment]
    """Write the tokenizer.json of a Unigram model, as those converted from SentencePiece are."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import UnigramTrainer

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = UnigramTrainer(
        vocab_size=220, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    parts = [*before, "$A", "</s>"]
    ids = [(token, tokenizer.token_to_id(token)) for token in (*before, "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=parts, pair=[*parts, "$B", "</s>"], special_tokens=ids
    )
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
