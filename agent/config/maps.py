"""A device map's name or path in, its tags and its device's limits out.

A map is a TOML file of what all devices of one model have in common: the tags, and keys of [[bus.device]] such as
max_registers. What the configuration says of the same key or the same tag wins. docs/DEVICE_MAPS.md has all keys.
"""

from agent.config import files
from agent.config.model import MAX_BITS, MAX_REGISTERS
from agent.config.nodes import Node, quoted
from agent.config.registers import ADDRESSES, SENTINELS, holes
from agent.config.report import Report, did_you_mean
from agent.config.values import as_is, milliseconds, text, text_list, whole, whole_list, words
from agent.config.walk import Key, read_table, read_tables

READ_AND_WRITE_FUNCTIONS = (1, 2, 3, 4, 5, 6, 15, 16, 22, 23)
MAX_SOURCE = 400
MAX_MODEL = 65_534  # 65535 says that there are no more
MAX_PATH = 4096  # Linux's
LIMITS = {
    "gap_ms": Key(milliseconds(0, 10_000)),
    "max_registers": Key(whole(1, MAX_REGISTERS)),
    "max_bits": Key(whole(1, MAX_BITS)),
    "max_gap": Key(whole(0, MAX_BITS)),
    "holes": Key(holes),
    "functions": Key(whole_list(READ_AND_WRITE_FUNCTIONS)),
    "sentinels": Key(words(*SENTINELS)),
    "start": Key(whole(0, ADDRESSES - 1)),
    "sunspec": Key(whole(1, MAX_MODEL)),
}
MAP = {
    "schema": Key(whole(1, 1), required=True),
    "title": Key(text(200), required=True),
    "source": Key(text_list(MAX_SOURCE)),
    "quirks": Key(text_list(MAX_SOURCE)),
    "serial": Key(as_is),
    "identity": Key(as_is),
    "group": Key(as_is),
    "tag": Key(as_is, required=True),
    **LIMITS,
}


class Maps:
    """The device maps of one configuration: each file is read once."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._read: dict[str, Node | None] = {}

    def applied(self, device: Node) -> tuple[Node, tuple[str, ...]]:
        """The [[bus.device]] table with what its map adds, and the names of the map's tags."""
        table = device.table or {}
        model = table.get("device")
        document = self._document(model) if model and is_name_of_map(model.value) else None
        if document is None or document.table is None:
            return device, ()
        own_tags = table["tag"].tables if "tag" in table else []
        together = {key: node for key, node in document.table.items() if key in LIMITS}
        known = _by_name(document, table.get("start") or document.table.get("start"))
        if own_tags is not None:
            wanted = self._selected(table.get("select"), known)
            nodes = _overridden(wanted, own_tags, known)
            tags = {"tag": document._replace(value=nodes)} if wanted or own_tags else {}
            table = _with_groups(table, document.table, groups_used(nodes))
            table = {key: node for key, node in table.items() if key != "tag"} | tags
        return device._replace(value={**together, **table}), _names(known)

    def _selected(self, select: Node | None, tags: dict[object, Node]) -> dict[object, Node]:
        """The map's tags that `select` names, in the map's order; all when there is no such list."""
        if select is None or not isinstance(select.value, list):
            return tags
        names = {item.value: item for item in select.value if isinstance(item.value, str)}
        for name, item in names.items():
            if name not in tags:
                self._report.mistake(
                    item.place, f"the device map has no tag {quoted(name)}" + did_you_mean(name, _names(tags))
                )
        return {name: node for name, node in tags.items() if name in names}

    def _document(self, model: Node) -> Node | None:
        """The map's file, checked; None when there is none, which is reported."""
        path = self._path(model)
        if path is None:
            return None
        if path not in self._read:
            self._read[path] = self._checked(model, path)
        return self._read[path]

    def _path(self, model: Node) -> str | None:
        name = str(model.value)
        if "/" in name or name.endswith(".toml"):
            return files.beside(model.place.file, name)
        shipped = files.shipped_maps()
        if name not in shipped:
            others = "; docs/DEVICE_MAPS.md lists those that do; or give a path that ends in .toml"
            message = f"no device map {quoted(name)} ships with fieldtap{did_you_mean(name, shipped) or others}"
            self._report.mistake(model.place, message)
        return shipped.get(name)

    def _checked(self, model: Node, path: str) -> Node | None:
        try:
            document = files.read_map(path, self._report)
        except OSError as error:
            self._report.mistake(model.place, f"device map {path}: {files.reason(error)}")
            return None
        if document is not None:
            read_tables(read_table(document, MAP, "the device map", self._report), "tag", "[[tag]]")
        return document


def groups_used(tags: list[Node]) -> list[str]:
    """The groups that the tags say they are in."""
    groups = [tag.table["group"].value for tag in tags if tag.table and "group" in tag.table]
    return [group for group in groups if isinstance(group, str)]


def _with_groups(device: dict[str, Node], document: dict[str, Node], used: list[str]) -> dict[str, Node]:
    """The device's table with the map's groups in it; their periods are for a device that has no `every`."""
    of_map = document["group"].table if "group" in document else None
    own = device.get("group")
    if of_map is None or (own is not None and own.table is None):
        return device
    of_map = {name: node for name, node in of_map.items() if name in used}
    if "every" in device:
        of_map = {name: node._replace(value={}) for name, node in of_map.items()}
    node = own or document["group"]
    return {**device, "group": node._replace(value={**of_map, **((own.table if own else None) or {})})}


def is_name_of_map(value: object) -> bool:
    """Whether it can be looked for; what is wrong with any other is said where the key is checked."""
    return isinstance(value, str) and value.isprintable() and len(value) <= MAX_PATH


def _by_name(document: Node, start: Node | None) -> dict[object, Node]:
    """The map's tags by name; a second one of a name, or one without, is kept under a key that no name can be."""
    counted_from = {"start": start} if start else {}
    tags: dict[object, Node] = {}
    arrays = document.table["tag"].tables if document.table and "tag" in document.table else None
    for index, node in enumerate(arrays or []):
        name = _name(node)
        key = ("map", index) if name is None or name in tags else name
        tags[key] = node._replace(value={"base": node._replace(value=0), **counted_from, **(node.table or {})})
    return tags


def _names(tags: dict[object, Node]) -> tuple[str, ...]:
    return tuple(name for name in tags if isinstance(name, str))


def _overridden(wanted: dict[object, Node], own: list[Node], known: dict[object, Node]) -> list[Node]:
    """The wanted tags, each with the keys that the configuration gives it, then the configuration's own."""
    together = dict(wanted)
    done = set()
    for index, node in enumerate(own):
        name = _name(node)
        if name in known and name not in done:
            done.add(name)
            together[name] = _over(known[name], node)
        else:
            together["own", index] = node
    return list(together.values())


def _over(from_map: Node, own: Node) -> Node:
    table, own_table = from_map.table or {}, own.table or {}
    if "register" in own_table:  # then it counts as the device says, not as the map does
        table = {key: node for key, node in table.items() if key not in ("base", "start")}
    return own._replace(value={**table, **own_table})


def _name(node: Node) -> str | None:
    name = (node.table or {}).get("name")
    return name.value if name and isinstance(name.value, str) else None
