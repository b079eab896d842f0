"""The labels of mentions in the references that a ``nested_spancat`` is initialized with."""

from typing import Iterable, Iterator, Sequence, Set

from spacy.training import Example


def reference_labels(component: str, key: str, examples: Iterable[Example]) -> Iterator[str]:
    """The labels of the mentions of ``doc.spans[key]``, one for each mention.

    Raises ValueError, which names the component, for a mention without a label.
    """
    for eg in examples:
        for span in eg.reference.spans.get(key, []):
            if not span.label_:
                raise ValueError(
                    f"Component '{component}': the mention {span.text!r} of doc.spans['{key}'] in "
                    f"the document {span.doc.text[:50]!r} has no label."
                )
            yield span.label_


def without_labels(component: str, key: str, examples: Iterable[Example]) -> str:
    """What to say of examples that hold no mention under the key."""
    n_examples = 0
    keys: Set[str] = set()
    for eg in examples:
        n_examples += 1
        keys.update(key for key, group in eg.reference.spans.items() if len(group))
    return (
        f"Component '{component}' has no labels: none were given, and doc.spans['{key}'] holds no "
        f"mention in any of {n_examples} examples. Span groups with mentions: "
        f"{sorted(keys) or 'none'}. Expected mentions under the component's spans_key."
    )


def check_labels(component: str, setting: str, named: Iterable[str], labels: Sequence[str]) -> None:
    """Raise ValueError where a setting names labels that the component does not have."""
    unknown = sorted(set(named) - set(labels))
    if unknown:
        raise ValueError(
            f"Component '{component}': {setting} are set for {unknown}, which are no labels of "
            f"it. Expected some of {list(labels)}."
        )
