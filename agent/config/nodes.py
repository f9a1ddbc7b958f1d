"""A parsed TOML document in, a tree whose every key and value knows its file, line and column out."""

import json
from typing import NamedTuple

from agent.config.positions import Path, Position, scan

MAX_SHOWN = 60  # characters of a wrong value in a message; enough to recognise it, never a screenful


class Place(NamedTuple):
    """A position in one of the files; line 0 stands for the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Node(NamedTuple):
    """One value of the document: a scalar, a table (dict of nodes) or an array (list of nodes)."""

    value: object
    place: Place  # of the value
    key_place: Place  # of the key it belongs to

    @property
    def table(self) -> "dict[str, Node] | None":
        """Its keys when this is a table."""
        return self.value if isinstance(self.value, dict) else None

    @property
    def tables(self) -> "list[Node] | None":
        """Its elements when this is an array of tables."""
        if isinstance(self.value, list) and all(isinstance(node.value, dict) for node in self.value):
            return self.value
        return None


def located(document: dict[str, object], text: str, file: str) -> Node:
    """What tomllib made of `text`, with places."""
    start = Place(file, 1, 1)
    return _node(document, (), scan(text), start)


def _node(value: object, path: Path, positions: dict[Path, Position], parent: Place) -> Node:
    found = positions.get(path)
    key_place = Place(parent.file, found.line, found.column) if found else parent
    place = Place(parent.file, found.value_line, found.value_column) if found else parent
    if isinstance(value, dict):
        value = {key: _node(child, (*path, key), positions, place) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_node(child, (*path, index), positions, place) for index, child in enumerate(value)]
    return Node(value, place, key_place)


def shown(node: Node) -> str:
    """The value as it is written in TOML, cut short."""
    if isinstance(node.value, dict):
        return "a table"
    if isinstance(node.value, list):
        return "an array" if node.value else "an empty array"
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    written = escaped(json.dumps(node.value, ensure_ascii=False)) if isinstance(node.value, str) else str(node.value)
    return written if len(written) <= MAX_SHOWN else written[: MAX_SHOWN - 4] + " ..."


def quoted(text: str) -> str:
    """A name as messages have it."""
    short = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 4] + " ..."
    return f"'{escaped(short)}'"


def escaped(text: str) -> str:
    """What does not show, or would steer the terminal, as TOML's escapes."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
