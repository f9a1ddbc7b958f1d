"""`fieldtap read`: registers of one device in words, their values out, once."""

import argparse
import json
import struct
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from agent._native.codec import decode
from agent._native.samples import Samples
from agent.acquire import pdu
from agent.acquire.once import driven
from agent.acquire.pdu import Ask
from agent.acquire.plan import BLOCK, BlockInfo, compile_plan
from agent.batch.record import RECORD, TEXT_LAST, in_json, number_value, text_value
from agent.cli.target import TARGETS, add_form, add_options, bus_of, file_of, queue_of, queue_tags, tags_of
from agent.cli.ways import way_to
from agent.cli.words import printable
from agent.config.model import MAX_REGISTERS, Bus, Config, Gateway, Store
from agent.digits import shortest
from agent.errors import ExitCode, UsageError
from agent.model import Quality, ValueType

MAX_COUNT = 10_000  # values: more than a device holds, few enough to print


class Reading(NamedTuple):
    """What one register held; `value` is None where `quality` says that there is none."""

    place: str
    value: int | float | str | None
    quality: Quality
    type: ValueType
    raw: int | bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("target", metavar="TARGET", help=TARGETS)
    registers = "holding:100, input:0x64:8, coil:5, 40101, file:FILE:RECORD:8, fifo:ADDRESS"
    parser.add_argument("register", metavar="REGISTER[:COUNT]", help=registers)
    add_form(parser)
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read, print; exit code 1 when a value does not fit its type."""
    readings = _queue(args) if args.register.startswith("fifo:") else _registers(args)
    if args.json:
        document = {"target": args.target, "unit": args.unit, "values": [_json(reading) for reading in readings]}
        print(json.dumps(document, allow_nan=False))
    else:
        for reading in readings:
            print(reading.place, _text(reading))
    return ExitCode.OK if all(reading.quality.has_value for reading in readings) else ExitCode.FAILURE


def read(bus: Bus, file: int = 0) -> Iterator[Reading]:
    """Every tag of the bus, in order, in as few requests as can be; `file`: the registers are records of this one."""
    fetch = partial(_records, file) if file else _payload
    with way_to(bus) as line:
        samples = _sampled(bus, lambda block: driven(line, fetch(block)))
    yield from _readings(samples, bus, f"file:{file}" if file else "")


def _registers(args: argparse.Namespace) -> list[Reading]:
    written, count = _counted(args.register)
    file = file_of(written)
    bus = bus_of(args, tags_of(args, written, count), most=pdu.MAX_RECORDS if file else MAX_REGISTERS)
    return list(read(bus, file))


def _queue(args: argparse.Namespace) -> list[Reading]:
    """What waits in a queue; its registers lie in one answer and are read as one block."""
    address = queue_of(args.register)
    bus = bus_of(args, ())
    with way_to(bus) as line:
        registers = driven(line, _queued(args.unit, address))
    if not registers:
        print(f"{args.register} is empty", file=sys.stderr)
        return []
    bus = bus_of(args, queue_tags(args, len(registers) // 2))
    at = iter(registers)
    samples = _sampled(bus, lambda block: bytes(islice(at, 2 * block.quantity)))
    return [reading._replace(place=f"fifo:{address}") for reading in _readings(samples, bus, "")]


def _queued(unit: int, address: int) -> Generator[Ask, bytes, bytes]:
    return pdu.queue((yield Ask(unit, pdu.read_fifo(address))))


def _payload(block: BlockInfo) -> Generator[Ask, bytes, bytes]:
    return pdu.data((yield Ask(block.unit, pdu.read(block.table, block.address, block.quantity))))


def _records(file: int, block: BlockInfo) -> Generator[Ask, bytes, bytes]:
    answer = yield Ask(block.unit, pdu.read_file((file, block.address, block.quantity)))
    return pdu.records(answer)[0]


def _sampled(bus: Bus, fetch: Callable[[BlockInfo], bytes]) -> Samples:
    """The bus's blocks, each with the registers or bits that `fetch` gets for it, decoded."""
    [part] = compile_plan(Config(gateway=Gateway(id="read"), mqtt=None, store=Store(), buses=(bus,))).buses
    samples = Samples()
    for number, info in enumerate(part.block_info):
        block = part.blocks[number * BLOCK.size : (number + 1) * BLOCK.size]
        decode(block, part.points, fetch(info), 0, samples)
    return samples


def _readings(samples: Samples, bus: Bus, space: str) -> Iterator[Reading]:
    """`space`: what the registers are called instead of their table."""
    text = b""
    tags = [tag for device in bus.devices for tag in device.tags]
    for _, raw, number, _, kind, quality, detail, part in RECORD.iter_unpack(bytes(samples)):
        tag, verdict = tags[number], Quality(quality)
        place = f"{space or tag.table}:{tag.address}"
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
    if isinstance(reading.value, str):
        return printable(reading.value)
    return _short(reading) if reading.quality.has_value else reading.quality.label


def _short(reading: Reading) -> int | float | str | None:
    return shortest(reading.value, reading.type) if isinstance(reading.value, float) else reading.value


def _counted(words: str) -> tuple[str, int]:
    """`holding:100:4` -> `holding:100`, 4; `40101:4` -> `40101`, 4; without a number of values: 1."""
    parts = words.split(":")
    words_of_register = 1 if parts[0].isdecimal() else 3 if parts[0] == "file" else 2
    written, rest = ":".join(parts[:words_of_register]), parts[words_of_register:]
    if not rest:
        return written, 1
    if len(rest) > 1 or not rest[0].isdecimal() or not 1 <= int(rest[0]) <= MAX_COUNT:
        raise UsageError(f"{words}: after the register comes the number of values, 1 to {MAX_COUNT}")
    return written, int(rest[0])
