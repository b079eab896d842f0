"""spaCy's own binary files, as ``spacy train`` reads them."""

from pathlib import Path
from typing import Iterable, Iterator, Union

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from .atomic import replacing
from .errors import FormatError


def write_docbin(docs: Iterable[Doc], path: Union[str, Path]) -> int:
    """Write Docs with their span groups and user data, and return their number.

    The file is complete or untouched. Raises OSError.
    """
    count = 0
    docbin = DocBin(store_user_data=True)
    for doc in docs:
        docbin.add(doc)
        count += 1
    with replacing(path) as beside:
        docbin.to_disk(beside)
    return count


def read_docbin(path: Union[str, Path], vocab: Vocab) -> Iterator[Doc]:
    """Read the Docs of a file. Raises FormatError for another kind of file, OSError."""
    data = Path(path).read_bytes()
    try:
        docbin = DocBin(store_user_data=True).from_bytes(data)
    except Exception as error:  # zlib, msgpack and DocBin raise many kinds
        raise FormatError(
            path, "", "", f"expected a complete DocBin (.spacy), reading it gives: {error}"
        ) from error
    return docbin.get_docs(vocab)
