"""The corpus reader ``spacy_bioie.TerminologyCorpus.v1``: a corpus, and the terms of its codes."""

from typing import Callable, Iterable, Iterator, Optional

from spacy.language import Language
from spacy.training import Example

from ..annotation import SPANS_KEY, Mention, set_mentions
from ..kb.code_set import CodeSet
from ..translation import Translate, translate_texts

Reader = Callable[[Language], Iterable[Example]]


def TerminologyCorpus_v1(
    corpus: Reader,
    codes: CodeSet,
    spans_key: str = SPANS_KEY,
    label: str = "",
    translate: Optional[Translate] = None,
) -> Reader:
    """Create ``spacy_bioie.TerminologyCorpus.v1``: further mentions to train a linker with.

    Behind the examples of a corpus comes one for each description and synonym of a code: a text
    that is one mention of it. With ``max_epochs`` of 0 or more ``spacy train`` shuffles both
    together. They are for linkers alone: a component that finds mentions would learn from them
    that whole texts are mentions.

    corpus: another reader, such as ``spacy.Corpus.v1``.
    codes: ``spacy_bioie.CodeSet.v1``.
    spans_key, label: of the mentions.
    translate: from the language of the terms to that of the corpus, for example
        ``spacy_bioie.TermTranslator.v1``.
    """

    def read(nlp: Language) -> Iterator[Example]:
        yield from corpus(nlp)
        terms = codes.terms()
        texts = translate_texts(translate, [text for text, _ in terms])
        distinct = dict.fromkeys(zip(texts, (code for _, code in terms), strict=True))
        for text, code in distinct:
            reference = nlp.make_doc(text)
            if len(reference):
                set_mentions(reference, spans_key, [Mention(0, len(reference), label, kb_id=code)])
                yield Example(nlp.make_doc(text), reference)

    return read
