"""A device map's path in; its tags, its limits and how such a device is recognised out."""

import re
from collections.abc import Mapping
from pathlib import Path

from agent.config import files
from agent.config.devices import read_devices
from agent.config.maps import MAP, Maps
from agent.config.model import Device
from agent.config.nodes import Node, Place
from agent.config.registers import ADDRESSES, Form, Register, form, register
from agent.config.report import Report
from agent.config.tags import ORDERS
from agent.config.values import text, unfit, whole, words
from agent.config.walk import Key, Values, read_table, read_tables
from agent.devices.model import DeviceId, DeviceMap, Fingerprint, Identity, Serial, ServerId
from agent.model import Order

MAX_OBJECT = 245  # bytes of one object of a device identification: Modbus Application Protocol V1.1b3, 6.21
SERIAL = {
    "baud": Key(whole(50, 12_000_000)),
    "parity": Key(words("N", "E", "O")),
    "stop_bits": Key(whole(1, 2)),
    "unit": Key(whole(1, 255)),
}


def shipped() -> dict[str, DeviceMap]:
    """The maps that come with fieldtap, by name."""
    found = {name: read_device_map(path, Report()) for name, path in files.shipped_maps().items()}
    return {name: one for name, one in found.items() if one is not None}


def read_device_map(path: str, report: Report) -> DeviceMap | None:
    """The map at `path`; what is wrong goes to `report`. None when it cannot be read at all."""
    path = str(Path(path))  # as it is called in remarks of the configuration
    document = files.read_map(path, report)
    device = _device(path, (document.table or {}) if document else {}, report)
    if document is None or device is None:
        return None
    values = read_table(document, MAP, "the device map", report)
    serial = values.get("serial")
    return DeviceMap(
        title=values.get("title", ""),
        sources=values.get("source", ()),
        quirks=values.get("quirks", ()),
        identity=_identity(values),
        serial=_serial(serial, report) if serial else Serial(),
        device=device,
    )


def _device(path: str, document: Mapping[str, Node], report: Report) -> Device | None:
    """The map as a configuration would use it."""
    here = Place(path)
    table = {"name": Node("map", here, here), "unit": Node(1, here, here)}
    table["device"] = Node(f"./{Path(path).name}", here, here)
    table |= {"start": document["start"]} if "start" in document else {}  # a configuration says it, too
    bus = Values(Node({}, here, here), {"device": Node([Node(table, here, here)], here, here)}, report)
    devices = read_devices(bus, Maps(report), is_tcp=False)
    return devices[0] if devices else None


def _serial(node: Node, report: Report) -> Serial:
    values = read_table(node, SERIAL, "serial", report)
    return Serial(**{key: values.get(key) for key in SERIAL})


# --- identity ---------------------------------------------------------------------------------------------------------

_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")


def _server_id(node: Node) -> bytes:
    if not isinstance(node.value, str) or not _HEX.fullmatch(node.value):
        unfit('bytes in hex, like "08FF"')
    return bytes.fromhex(node.value)


def _known(node: Node) -> tuple[int | str, ...]:
    items = [item.value for item in node.value] if isinstance(node.value, list) else []
    known = tuple(item for item in items if isinstance(item, int | str) and not isinstance(item, bool))
    return known if known and len(known) == len(items) else unfit("an array of numbers or texts, like [0x42323120]")


FINGERPRINT = {
    "register": Key(register, required=True),
    "type": Key(form, required=True),
    "order": Key(words(*ORDERS)),
    "values": Key(_known, required=True),
}
DEVICE_ID = {"vendor": Key(text(MAX_OBJECT), required=True), "product": Key(text(MAX_OBJECT), required=True)}
SERVER_ID = {"server_id": Key(_server_id, required=True)}


def _identity(document: Values) -> tuple[Identity, ...]:
    if document.get("identity") is None:
        return ()
    tables = Values(document.node, {"identity": document.get("identity")}, document.report)
    start = document.get("start", 0)
    found = [_one_identity(node, start, document.report) for node in read_tables(tables, "identity", "[[identity]]")]
    return tuple(identity for identity in found if identity is not None)


def _one_identity(node: Node, start: int, report: Report) -> Identity | None:
    """The kind is that of the key that only it has."""
    table = node.table or {}
    if "server_id" in table:
        begins = read_table(node, SERVER_ID, "identity", report).get("server_id")
        return ServerId(begins) if begins else None
    if "vendor" in table or "product" in table:
        values = read_table(node, DEVICE_ID, "identity", report)
        return DeviceId(values.get("vendor", ""), values.get("product", ""))
    return _fingerprint(read_table(node, FINGERPRINT, "identity", report), start)


def _fingerprint(values: Values, start: int) -> Fingerprint | None:
    place: Register | None = values.get("register")
    kind: Form | None = values.get("type")
    if place is None or kind is None or start + place.number >= ADDRESSES:
        return None
    order = Order[values.get("order", "ABCD")]
    return Fingerprint(place.table, start + place.number, kind, order, values.get("values", ()))
