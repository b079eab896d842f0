"""Which concepts and names of a source are wanted."""

from dataclasses import dataclass, fields, replace
from typing import Collection, FrozenSet, Iterable, Tuple


@dataclass(frozen=True)
class Filters:
    """What is read of a source; by default everything that it does not suppress.

    languages: of names, as the source writes them ("ENG"). vocabularies: the vocabularies inside
    a source, as it names them ("MSH"). semantic_types: identifiers or names of semantic types; a
    concept with any of them is kept. keep_suppressed: keep names and concepts that the source
    marks as suppressed or obsolete. Case does not matter.
    """

    languages: Collection[str] = ()
    vocabularies: Collection[str] = ()
    semantic_types: Collection[str] = ()
    keep_suppressed: bool = False

    @property
    def active(self) -> Tuple[str, ...]:
        """The names of the filters that are not at their defaults."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))

    def only(self, known: Collection[str]) -> "Filters":
        """The same, with the filters of other names at their defaults."""
        defaults = Filters()
        unknown = {name: getattr(defaults, name) for name in self.active if name not in known}
        return replace(self, **unknown)

    def keep_types(self, types: Iterable[str]) -> bool:
        """Whether a concept with these semantic types is wanted."""
        return not self.semantic_types or not folded(self.semantic_types).isdisjoint(folded(types))

    def __str__(self) -> str:
        return ", ".join(
            name if value is True else f"{name}={sorted(value)}"
            for name, value in ((name, getattr(self, name)) for name in self.active)
        )


def folded(values: Iterable[str]) -> FrozenSet[str]:
    """The values without case."""
    return frozenset(value.casefold() for value in values)
