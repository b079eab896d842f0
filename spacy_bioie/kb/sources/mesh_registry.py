"""Registry numbers of MeSH."""

import re

_KINDS = (
    (re.compile(r"EC ([0-9][0-9.n-]*)"), "EC"),
    (re.compile(r"txid([0-9]+)"), "NCBITaxon"),
    (re.compile(r"([0-9]{2,7}-[0-9]{2}-[0-9])"), "CAS"),
    (re.compile(r"([0-9A-Z]{10})"), "UNII"),
)


def registry_xref(number: str) -> str:
    """A registry number as a cross-reference with a prefix; "" for 0, which says there is none.

    Enzyme numbers, taxa, CAS numbers and UNIIs are told by their form; any other stays as it is.
    """
    if number in ("", "0"):
        return ""
    for form, prefix in _KINDS:
        found = form.fullmatch(number)
        if found:
            return f"{prefix}:{found[1]}"
    return number
