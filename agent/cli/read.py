"""`fieldtap read`: registers of one device in words, their values out, once."""

import argparse
import json
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from agent._native.codec import decode
from agent._native.samples import Samples
from agent.acquire.once import Line
from agent.acquire.plan import BLOCK, compile_plan
from agent.batch.record import RECORD, TEXT_LAST, in_json, number_value, shortest, text_value
from agent.config.buses import LEAST_BAUD, MOST_BAUD
from agent.config.buses import port as port_
from agent.config.model import Bus, Config, Device, Gateway, Store, Table, Tag
from agent.config.nodes import Node, Place
from agent.config.registers import ADDRESSES, Form, form, register, registers_of
from agent.config.values import UnfitError
from agent.errors import ExitCode, UsageError
from agent.model import NS_PER_MS, NS_PER_S, Order, Quality, ValueType

BIT_TABLES = (Table.COIL, Table.DISCRETE)
MAX_COUNT = 10_000  # values: more than a device holds, few enough to print
MAX_TIMEOUT_MS = 60_000

Parsed = TypeVar("Parsed")


class Reading(NamedTuple):
    """What one register held; `value` is None where `quality` says that there is none."""

    place: str
    value: int | float | str | None
    quality: Quality
    type: ValueType
    raw: int | bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("target", metavar="TARGET", help="port path, tcp://HOST[:PORT] or rtu+tcp://HOST:PORT")
    parser.add_argument("register", metavar="REGISTER[:COUNT]", help="holding:100, input:0x64:8, coil:5, 40101")
    parser.add_argument("--unit", metavar="N", type=int, required=True, help="the device's unit identifier")
    parser.add_argument("--type", metavar="T", help="u16 (registers), bool (bits), i16 u32 f32 ... string:N bits:N@K")
    parser.add_argument(
        "--order", choices=[order.name for order in Order], default="ABCD", help="of the bytes (default %(default)s)"
    )
    parser.add_argument("--base", type=int, choices=(0, 1), default=0, help="what the first register is called")
    parser.add_argument("--baud", type=int, default=19200, help="bits per second (default %(default)s)")
    parser.add_argument("--parity", choices=("N", "E", "O"), default="E", help="default %(default)s")
    parser.add_argument("--stop-bits", type=int, choices=(1, 2), default=1, help="default %(default)s")
    parser.add_argument(
        "--timeout", metavar="MS", type=int, default=1000, help="until the answer begins (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Read, print; exit code 1 when a value does not fit its type."""
    readings = list(read(_bus(args)))
    if args.json:
        document = {"target": args.target, "unit": args.unit, "values": [_json(reading) for reading in readings]}
        print(json.dumps(document, allow_nan=False))
    else:
        for reading in readings:
            print(reading.place, _text(reading))
    return ExitCode.OK if all(reading.quality.has_value for reading in readings) else ExitCode.FAILURE


def read(bus: Bus) -> Iterator[Reading]:
    """Every tag of the bus, in order, in as few requests as can be."""
    plan = compile_plan(Config(gateway=Gateway(id="read"), mqtt=None, store=Store(), buses=(bus,)))
    [part] = plan.buses
    samples = Samples()
    with Line(bus) as line:
        for block in (part.blocks[at : at + BLOCK.size] for at in range(0, len(part.blocks), BLOCK.size)):
            *_, request_bytes, answer_bytes, _, _, _, _, request = BLOCK.unpack(block)
            pdu = line.ask(request[:request_bytes], answer_bytes)
            decode(block, part.points, pdu[2:], 0, samples)
    yield from _readings(samples, [tag for device in bus.devices for tag in device.tags])


def _readings(samples: Samples, tags: list[Tag]) -> Iterator[Reading]:
    text = b""
    for _, raw, number, _, kind, quality, detail, part in RECORD.iter_unpack(bytes(samples)):
        tag, verdict = tags[number], Quality(quality)
        place = f"{tag.table}:{tag.address}"
        if not verdict.has_value:
            yield Reading(place, None, verdict, tag.type, raw)
        elif tag.type is not ValueType.TEXT:
            yield Reading(place, number_value(ValueType(kind), raw), verdict, tag.type, raw)
        else:
            text += struct.pack("=Q", raw)[:detail]
            if part & TEXT_LAST:
                yield Reading(place, text_value(text), verdict, tag.type, text)
                text = b""


def _json(reading: Reading) -> dict[str, object]:
    return {
        "register": reading.place,
        **in_json(_short(reading), reading.raw, reading.type),
        "q": reading.quality.label,
    }


def _text(reading: Reading) -> object:
    """Text of a device may hold anything; what would steer the terminal is shown escaped."""
    if isinstance(reading.value, str):
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in reading.value)
    return _short(reading) if reading.quality.has_value else reading.quality.label


def _short(reading: Reading) -> int | float | str | None:
    return shortest(reading.value, reading.type) if isinstance(reading.value, float) else reading.value


# --- the words of the command line as a bus with one device ---


def _bus(args: argparse.Namespace) -> Bus:
    is_modbus_tcp = args.target.startswith("tcp://")
    if not (0 if is_modbus_tcp else 1) <= args.unit <= 255:
        raise UsageError(f"--unit {args.unit}: a device's is 1 to 255" + (", or 0" if is_modbus_tcp else ""))
    if not 1 <= args.timeout <= MAX_TIMEOUT_MS:
        raise UsageError(f"--timeout {args.timeout}: milliseconds from 1 to {MAX_TIMEOUT_MS}")
    if not LEAST_BAUD <= args.baud <= MOST_BAUD:
        raise UsageError(f"--baud {args.baud}: bits per second from {LEAST_BAUD} to {MOST_BAUD}")
    return Bus(
        name="read",
        port=_understood(port_, args.target),
        protocol="modbus-tcp" if is_modbus_tcp else "modbus-rtu",
        baud=args.baud,
        parity=args.parity,
        stop_bits=args.stop_bits,
        timeout_ns=args.timeout * NS_PER_MS,
        devices=(Device(name="device", unit=args.unit, tags=_tags(args)),),
    )


def _tags(args: argparse.Namespace) -> tuple[Tag, ...]:
    written, count = _counted(args.register)
    table, number, is_reference = _understood(register, written)
    form_ = _form(args.type, table)
    address = number - (1 if is_reference else args.base)
    size = registers_of(form_.type, form_.length)
    if address < 0 or address + count * size > ADDRESSES:
        raise UsageError(f"{args.register}: registers are {args.base} to {ADDRESSES - 1 + args.base}")
    return tuple(_tag(table, address + at * size, form_, Order[args.order]) for at in range(count))


def _tag(table: Table, address: int, form_: Form, order: Order) -> Tag:
    return Tag(name=str(address), table=table, address=address, order=order, every_ns=NS_PER_S, **form_._asdict())


def _counted(words: str) -> tuple[str, int]:
    """`holding:100:4` -> `holding:100`, 4; `40101:4` -> `40101`, 4; without a number of values: 1."""
    parts = words.split(":")
    words_of_register = 1 if parts[0].isdecimal() else 2
    written, rest = ":".join(parts[:words_of_register]), parts[words_of_register:]
    if not rest:
        return written, 1
    if len(rest) > 1 or not rest[0].isdecimal() or not 1 <= int(rest[0]) <= MAX_COUNT:
        raise UsageError(f"{words}: after the register comes the number of values, 1 to {MAX_COUNT}")
    return written, int(rest[0])


def _form(written: str | None, table: Table) -> Form:
    is_bit = table in BIT_TABLES
    form_: Form = _understood(form, written or ("bool" if is_bit else "u16"))
    if is_bit and form_.type is not ValueType.BOOL:
        raise UsageError(f"--type {written}: a {table} holds one bit")
    if not is_bit and form_.type is ValueType.BOOL:
        raise UsageError(f"--type {written}: one bit of a register is bits:1@K")
    return form_


def _understood(parse: Callable[[Node], Parsed], written: str) -> Parsed:
    """What the configuration's notation makes of a word of the command line."""
    place = Place("command line")
    try:
        return parse(Node(written, place, place))
    except UnfitError as error:
        raise UsageError(f"{written}: {error}") from None
