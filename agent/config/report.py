"""Mistakes and warnings in, as the walk finds them; out once each, in the order of the files."""

from collections.abc import Iterable
from typing import NamedTuple

from agent.config.nodes import Place


class Remark(NamedTuple):
    """One thing to say about one place."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class Report:
    """Collects what is wrong (mistakes: no agent starts) and what deserves a word (warnings)."""

    def __init__(self) -> None:
        self._mistakes: dict[Remark, None] = {}  # a set that keeps its order: a shared device map is walked often
        self._warnings: dict[Remark, None] = {}
        self._files: list[str] = []  # in the order of their reading

    def opened(self, file: str) -> None:
        """Remarks are sorted by the order in which files were opened."""
        self._files.append(file)

    def mistake(self, place: Place, message: str) -> None:
        """Something that must be put right."""
        self._mistakes[Remark(place, message)] = None

    def warn(self, place: Place, message: str) -> None:
        """Something that works, but not as one may think."""
        self._warnings[Remark(place, message)] = None

    @property
    def mistakes(self) -> list[Remark]:
        """All of them, by file, line and column."""
        return self._sorted(self._mistakes)

    @property
    def warnings(self) -> list[Remark]:
        """All of them, by file, line and column."""
        return self._sorted(self._warnings)

    def _sorted(self, remarks: Iterable[Remark]) -> list[Remark]:
        order = {file: index for index, file in reversed(list(enumerate(self._files)))}
        return sorted(remarks, key=lambda remark: (order.get(remark.place.file, len(order)), remark.place))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no known word is near."""
    from difflib import get_close_matches  # noqa: PLC0415 # only a mistake pays for it

    by_lower = {option.lower(): option for option in known}
    near = get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
