"""The trees of several files in, one tree out; what two files both set is reported with both places.

Tables merge key by key. A [[bus]], [[bus.device]] or [[bus.device.tag]] whose name an earlier file has used extends
that one, any other is appended. A value may be set once: a second file that sets it again is a mistake.
"""

from agent.config.nodes import Node, escaped, shown
from agent.config.report import Report

NAMED_ARRAYS = ("bus", "device", "tag")
SECRETS = ("password",)  # never repeated in a message


def merged(base: Node, extra: Node, report: Report, path: str = "") -> Node:
    """`base` with everything of `extra` added."""
    assert base.table is not None  # noqa: S101 # documents and array elements are tables
    assert extra.table is not None  # noqa: S101
    together = dict(base.table)
    for key, node in extra.table.items():
        together[key] = _both(together[key], node, f"{path}{escaped(key)}", report) if key in together else node
    return base._replace(value=together)


def _both(first: Node, second: Node, path: str, report: Report) -> Node:
    key = path.rpartition(".")[2]
    if first.table is not None and second.table is not None:
        return merged(first, second, report, f"{path}.")
    if first.tables is not None and second.tables is not None and key in NAMED_ARRAYS:
        return first._replace(value=_all_tables(first.tables, second.tables, path, report))
    if key not in ("name", "schema") or first.value != second.value:
        here, there = ("", "") if key in SECRETS else (f"{shown(second)} ", f"{shown(first)} ")
        report.mistake(second.place, f"{path} is set twice: {here}here, {there}at {first.place}")
    return first


def _all_tables(first: list[Node], second: list[Node], path: str, report: Report) -> list[Node]:
    together = list(first)
    known = {_name(node): index for index, node in reversed(list(enumerate(first)))}
    for node in second:
        index = known.get(_name(node)) if _name(node) is not None else None
        if index is None:
            together.append(node)
        else:
            together[index] = merged(together[index], node, report, f"{path}.")
    return together


def _name(node: Node) -> object:
    table = node.table or {}
    name = table["name"].value if "name" in table else None
    return name if isinstance(name, str) else None
