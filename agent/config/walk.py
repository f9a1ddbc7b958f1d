"""A table of the document and the keys it may have in, its checked values out, everything else reported."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agent.config.nodes import Node, Place, quoted, shown
from agent.config.report import Report, did_you_mean
from agent.config.values import Parse, UnfitError


class Key(NamedTuple):
    """What may stand under one key."""

    parse: Parse
    required: bool = False


class Values:
    """The good values of one table. A key that is absent, or wrong and reported, gives the default."""

    def __init__(self, node: Node, good: dict[str, Any], report: Report) -> None:
        self.node = node
        self.report = report
        self._good = good

    def get(self, key: str, default: Any = None) -> Any:
        """The checked value, or `default`."""
        return self._good.get(key, default)

    def written(self, key: str) -> bool:
        """True when the table has the key, right or wrong."""
        return key in (self.node.table or {})

    def place(self, key: str) -> Place:
        """Where the key's value is, or the table when it has no such key."""
        node = (self.node.table or {}).get(key)
        return node.place if node else self.node.key_place

    def key_place(self, key: str) -> Place:
        """Where the key itself is, or the table when it has no such key."""
        node = (self.node.table or {}).get(key)
        return node.key_place if node else self.node.key_place

    def taking(self, key: str, other: "Values") -> "Values":
        """The same, but with the value that `other` has under `key`, and its place."""
        node = (other.node.table or {}).get(key)
        if node is None:
            return self
        table = {**(self.node.table or {}), key: node}
        return Values(self.node._replace(value=table), {**self._good, key: other.get(key)}, self.report)

    def mistake(self, key: str, message: str) -> None:
        """Report something about the value of `key`."""
        self.report.mistake(self.place(key), message)

    def warn(self, key: str, message: str) -> None:
        """Remark on the value of `key`."""
        self.report.warn(self.place(key), message)


def read_table(node: Node, keys: Mapping[str, Key], where: str, report: Report) -> Values:
    """Check every key of one table; `where` names the table in messages."""
    table = node.table
    if table is None:
        report.mistake(node.place, f"{where} is {shown(node)}; allowed: a table")
        return Values(node, {}, report)
    for key, child in table.items():
        if key not in keys:
            report.mistake(child.key_place, f"unknown key {quoted(key)} in {where}" + _hint(key, keys))
    for key, rule in keys.items():
        if rule.required and key not in table:
            report.mistake(node.key_place, f"{where} has no '{key}', which it needs")
    good = {key: _parsed(key, child, keys[key], report) for key, child in table.items() if key in keys}
    return Values(node, {key: value for key, value in good.items() if value is not None}, report)


def read_tables(values: Values, key: str, header: str) -> list[Node]:
    """The elements of an array of tables; none when the key is absent or something else."""
    node: Node | None = values.get(key)
    if node is None:
        return []
    if not node.tables:
        values.report.mistake(node.place, f"{key} is {shown(node)}; allowed: tables that each start with {header}")
        return []
    return node.tables


def once(values: Values, key: str, seen: dict[str, Place], what: str, identity: Callable[[Any], str] = str) -> None:
    """Report a value that an earlier table of the same kind has; `identity` is one of those that mean the same."""
    value = values.get(key)
    if value is None:
        return
    first = seen.setdefault(identity(value), values.place(key))
    if first != values.place(key):
        written = quoted(value) if isinstance(value, str) else value
        values.mistake(key, f"{what} {written} is used twice; first at {first}")


def _hint(key: str, keys: Mapping[str, Key]) -> str:
    return did_you_mean(key, keys) or f"; known: {', '.join(keys)}"


def _parsed(key: str, node: Node, rule: Key, report: Report) -> object:
    try:
        return rule.parse(node)
    except UnfitError as unfit:
        report.mistake(node.place, f"{key}{'' if unfit.is_secret else f' is {shown(node)}'}; {unfit}")
        return None
