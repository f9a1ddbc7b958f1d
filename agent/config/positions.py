"""TOML text that tomllib accepted in, the line and column of every key and value out.

tomllib keeps no positions. The text is known to be valid here, so this scanner only has to find where tokens start
and end, never to judge them.
"""

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

Path = tuple[str | int, ...]  # ("bus", 0, "device", 2, "name")

_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY_PART = re.compile(r'[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|' + r"'[^']*'")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
# The closing three quotes may be followed by one or two that belong to the text.
_SCALAR = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' + r"|'''.*?'''(?:'{0,2})" + r'|"(?:\\.|[^"\\])*"|' + r"'[^']*'|[^,\]}\n#]+",
    re.DOTALL,
)


class Position(NamedTuple):
    """Where a key and its value stand: lines and columns count from 1. An array's element has its value's twice."""

    line: int
    column: int
    value_line: int
    value_column: int


def scan(text: str) -> dict[Path, Position]:
    """Positions of everything in `text` by key path; line ends are plain line feeds, as tomllib sees them."""
    return _Scanner(text).document()


class _Scanner:
    """A cursor over the text that notes where things are as it passes them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Position] = {}
        self.tables_in: dict[Path, int] = {}  # how many tables an array of tables has so far
        self.line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def document(self) -> dict[Path, Position]:
        table: Path = ()
        self.skip(_SPACE)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_SPACE)
        return self.found

    def header(self) -> Path:
        """[a.b] or [[a.b]]: where the pairs that follow belong."""
        start = self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        self.skip(_SPACE)
        *parents, (last, _) = self.key()
        self.at = self.text.index("]", self.at) + (2 if is_array else 1)
        path: Path = ()
        for part, _ in parents:
            path = self.latest((*path, part))
            self.note(path, start, start)
        path = (*path, last)
        if is_array:
            self.note(path, start, start)
            self.tables_in[path] = self.tables_in.get(path, 0) + 1
        path = self.latest(path)
        self.note(path, start, start, is_definition=True)
        return path

    def latest(self, path: Path) -> Path:
        """An array of tables stands for its newest element in the headers that follow it."""
        return (*path, self.tables_in[path] - 1) if path in self.tables_in else path

    def pair(self, table: Path) -> None:
        """One `key = value`; of a dotted key every part gets its own column."""
        path = table
        *parents, (last, start) = self.key()
        self.at = self.text.index("=", self.at) + 1
        self.skip(_SPACE)
        for part, part_start in parents:
            path = (*path, part)
            self.note(path, part_start, part_start)
        path = (*path, last)
        self.note(path, start, self.at, is_definition=True)
        self.value(path)

    def key(self) -> list[tuple[str, int]]:
        """The parts of a dotted key, each with the offset where it starts."""
        parts = []
        while True:
            match = _KEY_PART.match(self.text, self.at)
            assert match, "tomllib accepted this key"  # noqa: S101 # the caller's promise, not input checking
            parts.append((_plain_key(match.group()), self.at))
            self.at = match.end()
            dot = _DOT.match(self.text, self.at)
            if not dot:
                return parts
            self.at = dot.end()

    def value(self, path: Path) -> None:
        opening = self.text[self.at]
        if opening == "[":
            self.array(path)
        elif opening == "{":
            self.inline_table(path)
        else:
            self.skip(_SCALAR)

    def array(self, path: Path) -> None:
        index = 0
        self.skip_mark()
        while self.text[self.at] != "]":
            element = (*path, index)
            self.note(element, self.at, self.at)
            self.value(element)
            index += 1
            self.skip_separator()
        self.at += 1

    def inline_table(self, path: Path) -> None:
        self.skip_mark()
        while self.text[self.at] != "}":
            self.pair(path)
            self.skip_separator()
        self.at += 1

    def skip_mark(self) -> None:
        self.at += 1
        self.skip(_SPACE)

    def skip_separator(self) -> None:
        self.skip(_SPACE)
        if self.text[self.at] == ",":
            self.skip_mark()

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def note(self, path: Path, key: int, value: int, *, is_definition: bool = False) -> None:
        """The first mention counts, until the place that defines it comes."""
        if is_definition or path not in self.found:
            place = self.line_and_column(key)
            self.found[path] = Position(*place, *(place if value == key else self.line_and_column(value)))

    def line_and_column(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1


def _plain_key(token: str) -> str:
    """A key without its quotes and escapes."""
    return next(iter(tomllib.loads(f"{token}=0"))) if token[0] in "\"'" else token
