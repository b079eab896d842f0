"""The section of a config that names the file of its training corpus."""

from typing import Any, Dict

from thinc.api import Config


def training_corpus(config: Config) -> Dict[str, Any]:
    """The section, whose setting "path" can be changed.

    Raises ValueError where the training corpus has no such setting.
    """
    corpus = str(config.get("training", {}).get("train_corpus", "corpora.train"))
    section: Any = config
    for name in corpus.split("."):
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict) or "path" not in section:
        raise ValueError(
            f"Config: the training corpus [{corpus}] has no setting 'path'. Expected a reader "
            "such as spacy.Corpus.v1, which reads the file that it names."
        )
    return section
