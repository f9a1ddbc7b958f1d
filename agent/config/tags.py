"""A [[bus.device.tag]] table in, a typed tag out."""

from agent.config.model import Table, Tag
from agent.config.nodes import Node, shown
from agent.config.registers import ADDRESSES, Form, Register, form, register, registers_of
from agent.config.report import did_you_mean
from agent.config.values import as_is, duration, name, nonzero, number, text, whole, words, yes_or_no
from agent.config.walk import Key, Values, read_table
from agent.config.writes import read_write
from agent.model import DeadbandKind, Order, ValueType

EVERY = duration("1 ms", "24 h")
MAX_UNIT = 32
ORDERS = tuple(order.name for order in Order)
TAG = {
    "name": Key(name, required=True),
    "register": Key(register),
    "base": Key(whole(0, 1)),
    "type": Key(form),
    "order": Key(words(*ORDERS)),
    "scale": Key(nonzero),
    "offset": Key(number()),
    "unit": Key(text(MAX_UNIT, least=0)),
    "every": Key(EVERY),
    "merge": Key(yes_or_no),
    "deadband": Key(as_is),
    "heartbeat": Key(duration("1 ms", "24 h")),
    "write": Key(as_is),
}
PERCENT = {"percent": Key(number(0, 100)), "swinging_door": Key(as_is)}
BIT_TABLES = (Table.COIL, Table.DISCRETE)


def read_tag(values: Values, every_ns: int, base: int, from_map: tuple[str, ...]) -> Tag | None:
    """One tag, its table read with TAG; `every_ns` and `base` are its device's, `from_map` the names its map has.

    None when too little is right to go on.
    """
    written: Register | None = values.get("register")
    if not values.written("register"):
        _report_no_register(values, from_map)
    form_ = _form(values, written)
    address = _address(values, written, form_, values.get("base", base))
    _check_arithmetic(values, form_)
    kind, band = _deadband(values)
    _check_heartbeat(values, values.get("every", every_ns))
    write = read_write(values, written, form_)
    if written is None or address is None or form_ is None or not values.get("name"):
        return None
    return Tag(
        name=values.get("name"),
        table=written.table,
        address=address,
        **form_._asdict(),
        order=Order[values.get("order", "ABCD")],
        scale=values.get("scale", 1.0),
        offset=values.get("offset", 0.0),
        unit=values.get("unit", ""),
        every_ns=values.get("every", every_ns),
        merge=values.get("merge", True),
        deadband=kind,
        deadband_value=band,
        heartbeat_ns=values.get("heartbeat", 0),
        write=write,
    )


def _report_no_register(values: Values, from_map: tuple[str, ...]) -> None:
    name = values.get("name")
    message = f"tag '{name}' has no 'register'" if name else "[[bus.device.tag]] has no 'register'"
    if name and from_map:
        message += f", and the device map has no tag of that name{did_you_mean(name, from_map)}"
    values.report.mistake(values.node.key_place, message)


def _form(values: Values, written: Register | None) -> Form | None:
    form_: Form | None = values.get("type")
    if written is None:
        return form_
    if written.table in BIT_TABLES:
        return _bit_form(values, written.table, form_)
    if not values.written("type"):
        values.report.mistake(values.node.key_place, f"a tag in {written.table} registers needs a 'type'")
    return form_


def _bit_form(values: Values, table: Table, form_: Form | None) -> Form:
    if form_ and form_.type is not ValueType.BOOL:
        values.mistake("type", f'a {table} holds one bit; allowed type: "bool"')
    if values.written("order"):
        values.report.mistake(values.key_place("order"), f"a {table} holds one bit, which has no byte order")
    return Form(ValueType.BOOL)


def _address(values: Values, written: Register | None, form_: Form | None, base: int) -> int | None:
    if written is None:
        return None
    if written.is_reference and base != 1:
        zero_based = f"{written.table}:{max(written.number - 1, 0)}"
        values.mistake("register", f'register is in 40101 notation; write "{zero_based}", or add base = 1')
        return None
    address = written.number - base
    length = registers_of(form_.type, form_.length) if form_ else 1
    if address < 0:
        values.mistake("register", f"with base = 1 the first {written.table} register is 1")
    elif address + length > ADDRESSES:
        message = f"{length} at address {address} would end beyond the last address, {ADDRESSES - 1}"
        values.mistake("register", message)
    return address


def _check_arithmetic(values: Values, form_: Form | None) -> None:
    """Text cannot be calculated with, and a bit needs no scale."""
    if form_ is None or form_.type not in (ValueType.TEXT, ValueType.BOOL):
        return
    word = "text" if form_.type is ValueType.TEXT else "one bit"
    keys = ("scale", "offset", "write", "deadband") if word == "text" else ("scale", "offset")
    for key in keys:
        if values.written(key):
            values.report.mistake(values.key_place(key), f"{key} has no meaning for {word}")


def _deadband(values: Values) -> tuple[DeadbandKind, float]:
    node: Node | None = values.get("deadband")
    if node is None:
        return DeadbandKind.NONE, 0.0
    if node.table is not None:
        return _deadband_table(values, node)
    plain = read_table(node._replace(value={"deadband": node}), {"deadband": Key(number(0))}, "", values.report)
    return DeadbandKind.ABSOLUTE, plain.get("deadband", 0.0)


def _check_heartbeat(values: Values, every_ns: int) -> None:
    """What makes it without effect, or the dead band."""
    if not values.written("heartbeat"):
        return
    if not values.written("deadband"):
        values.report.warn(values.key_place("heartbeat"), "heartbeat without deadband: every sample is sent anyway")
    elif values.get("heartbeat", every_ns + 1) <= every_ns:
        values.warn("heartbeat", "heartbeat is not longer than every: each sample is sent, whatever its dead band")


def _deadband_table(values: Values, node: Node) -> tuple[DeadbandKind, float]:
    band = read_table(node, PERCENT, "deadband", values.report)
    if band.written("swinging_door"):
        message = "deadband { swinging_door = .. } is not available in this version; a number or { percent = .. } is"
        values.report.mistake(band.key_place("swinging_door"), message)
    elif not node.table:
        values.mistake("deadband", f"deadband is {shown(node)}; allowed: a number or {{ percent = 0.5 }}")
    return DeadbandKind.PERCENT, band.get("percent", 0.0)
