"""A BERT small enough for tests: random weights, a vocabulary of word pieces over ASCII."""

import json
import string
from pathlib import Path

WORDS = """
the of and in to a with for by was were is are on as from that this than between patients
disease gut brain axis bacteria microbiota microbiome inflammation depression anxiety
parkinson alzheimer probiotic lactobacillus escherichia coli mice rats human cell cells acid
amino serotonin dopamine short chain fatty butyrate increase decrease associated effect
study treatment results sleep stress levels diet intestinal bowel syndrome
""".split()
ENDINGS = ["##s", "##ed", "##ing", "##al", "##ic", "##osis", "##itis", "##us", "##ine", "##ate"]


def make_tiny_bert(folder, max_positions: int = 128, *, seed: int = 0, dropout: float = 0.0) -> str:
    """Write a randomly initialised BERT (2 layers, 2 heads, width 32) and its fast tokenizer.

    The vocabulary holds every printable ASCII character as a first and as a later piece, so
    that any word of ASCII characters can be cut (characters outside it become [UNK]).

    folder: written to; made if it is not there.
    max_positions (int): position embeddings, and so the longest window in word pieces.
    seed (int): of the weights.
    dropout (float): of the hidden states and of the attention.
    RETURNS (str): the folder, as `name` of `spacy_bioie.TransformerModel.v1`.
    """
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    printable = [c for c in string.printable.lower() if not c.isspace()]
    characters = sorted(set(printable))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += characters + [f"##{c}" for c in characters] + sorted(set(WORDS)) + ENDINGS
    vocabulary = list(dict.fromkeys(vocabulary))
    vocab_file = path / "vocab.txt"
    vocab_file.write_text("\n".join(vocabulary) + "\n", encoding="utf8")
    tokenizer = BertTokenizerFast(
        vocab_file=str(vocab_file), do_lower_case=True, model_max_length=max_positions
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # wider than the usual 0.02, so that neighbouring pieces differ clearly in tests
        initializer_range=0.3,
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(str(path))
    torch.set_rng_state(state)
    tokenizer.save_pretrained(str(path))
    return str(path)


def forget_max_length(folder) -> None:
    """Take the maximum length out of a saved tokenizer, as many published ones lack it."""
    path = Path(folder) / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf8"))
    settings.pop("model_max_length", None)
    path.write_text(json.dumps(settings), encoding="utf8")
