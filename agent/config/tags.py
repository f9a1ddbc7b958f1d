"""A [[bus.device.tag]] table in, a typed tag out."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from agent.config.model import Table, Tag, Write
from agent.config.nodes import Node, Place, shown
from agent.config.registers import (
    ADDRESSES,
    Form,
    Register,
    Sentinel,
    form,
    register,
    registers_of,
    sentinel,
    sentinel_of,
)
from agent.config.report import did_you_mean
from agent.config.values import UnfitError, as_is, duration, name, nonzero, number, text, whole, words, yes_or_no
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
    "start": Key(whole(0, ADDRESSES - 1)),
    "type": Key(form),
    "order": Key(words(*ORDERS)),
    "scale": Key(nonzero),
    "offset": Key(number()),
    "scale_register": Key(register),
    "sentinel": Key(sentinel),
    "plausible": Key(as_is),
    "group": Key(name),
    "unit": Key(text(MAX_UNIT, least=0)),
    "every": Key(EVERY),
    "merge": Key(yes_or_no),
    "deadband": Key(as_is),
    "heartbeat": Key(duration("1 ms", "24 h")),
    "write": Key(as_is),
}
PERCENT = {"percent": Key(number(0, 100)), "swinging_door": Key(as_is)}
PLAUSIBLE = {"min": Key(number()), "max": Key(number())}
BIT_TABLES = (Table.COIL, Table.DISCRETE)
NOT_SCALABLE = (ValueType.TEXT, ValueType.BOOL, ValueType.BITS, ValueType.F32, ValueType.F64)


class FromDevice(NamedTuple):
    """What a tag has from its device unless it says otherwise."""

    every_ns: int
    base: int = 0
    sentinels: str | None = None
    group_every_ns: Mapping[str, int | None] = {}  # None: the device's
    from_map: tuple[str, ...] = ()  # names of the tags that the device's map has
    model_at: Place | None = None  # where it is said where the map's SunSpec model stands, if that is only a guess


def read_tag(values: Values, device: FromDevice) -> Tag | None:
    """One tag, its table read with TAG; None when too little is right to go on."""
    written: Register | None = values.get("register")
    if not values.written("register"):
        _report_no_register(values, device.from_map)
    form_ = _form(values, written)
    base = values.get("base", device.base)
    address = _address(values, "register", base, registers_of(form_) if form_ else 1)
    _check_arithmetic(values, form_)
    kind, band = _deadband(values)
    every_ns = _every_ns(values, device)
    _check_heartbeat(values, every_ns)
    write = read_write(values, written, form_)
    none = _sentinel(values, form_, device.sentinels)
    plausible = _plausible(values)
    moves = device.model_at is not None and values.written("start") and values.place("start") == device.model_at
    _check_write(values, write, moves=moves)
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
        scale_address=_scale_address(values, written, form_, base),
        sentinel=none.bits,
        sentinel_empty=none.is_empty,
        plausible=plausible,
        unit=values.get("unit", ""),
        moves=moves,
        every_ns=every_ns,
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


def _address(values: Values, key: str, base: int, length: int) -> int | None:
    """The 0-based address of the register under `key`, `length` of which are read."""
    written: Register | None = values.get(key)
    if written is None:
        return None
    if written.is_reference and base != 1:
        zero_based = f"{written.table}:{max(written.number - 1, 0)}"
        values.mistake(key, f'{key} is in 40101 notation; write "{zero_based}", or add base = 1')
        return None
    address: int = written.number - base + values.get("start", 0)
    if address < 0:
        values.mistake(key, f"with base = 1 the first {written.table} register is 1")
    elif address + length > ADDRESSES:
        last = f"the last address is {ADDRESSES - 1}"
        reach = f"{length} registers from {address} on reach beyond it" if length > 1 else f"this one is {address}"
        values.mistake(key, f"{last}; {reach}")
    return address


def _scale_address(values: Values, written: Register, form_: Form, base: int) -> int | None:
    """Where the power of ten stands: in the same table, because one request must read both."""
    power: Register | None = values.get("scale_register")
    if power is None:
        return None
    if power.table is not written.table:
        values.mistake("scale_register", f"scale_register must be in the table of the tag, {written.table}")
    if written.table in BIT_TABLES or form_.type in NOT_SCALABLE:
        message = "scale_register has a meaning for whole numbers and BCD only"
        values.report.mistake(values.key_place("scale_register"), message)
    if values.written("write"):
        message = "what to write depends on scale_register; write another tag, of the number as the register holds it"
        values.report.mistake(values.key_place("write"), message)
    return _address(values, "scale_register", base, 1)


def _sentinel(values: Values, form_: Form | None, of_device: str | None) -> Sentinel:
    if form_ is None:
        return Sentinel()
    try:
        return sentinel_of(form_, values.get("sentinel"), of_device)
    except UnfitError as unfit:
        written = (values.node.table or {})["sentinel"]
        values.mistake("sentinel", f"sentinel is {shown(written)}, the type is {form_.type.name.lower()}; {unfit}")
        return Sentinel()


def _plausible(values: Values) -> tuple[float, float] | None:
    node: Node | None = values.get("plausible")
    if node is None:
        return None
    if not node.table:
        values.mistake("plausible", f"plausible is {shown(node)}; allowed: {{ min = -40, max = 125 }}, or one of them")
        return None
    limits = read_table(node, PLAUSIBLE, "plausible", values.report)
    least, most = limits.get("min", -math.inf), limits.get("max", math.inf)
    if least > most:
        limits.mistake("min", f"min is {least:g}, above max, which is {most:g}")
    return least, most


def _check_write(values: Values, write: Write | None, *, moves: bool) -> None:
    if write and moves:
        message = "where it is written must not depend on where its SunSpec model is found; say `start` of the device"
        values.report.mistake(values.key_place("write"), message)


def _every_ns(values: Values, device: FromDevice) -> int:
    group = values.get("group")
    if group is not None and group not in device.group_every_ns:
        values.mistake("group", f"the device has no group '{group}'{did_you_mean(group, device.group_every_ns)}")
    of_group = device.group_every_ns.get(group) if group else None
    every_ns: int = values.get("every", device.every_ns if of_group is None else of_group)
    return every_ns


def _check_arithmetic(values: Values, form_: Form | None) -> None:
    """Text cannot be calculated with, and a bit needs no scale."""
    if form_ is None or form_.type not in (ValueType.TEXT, ValueType.BOOL):
        return
    word = "text" if form_.type is ValueType.TEXT else "one bit"
    keys = ("scale", "offset", "plausible", "write", "deadband") if word == "text" else ("scale", "offset", "plausible")
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
