"""`fieldtap read`: registers of one device in words, their values out, once."""

import argparse
import json
import struct
from collections.abc import Iterator
from typing import NamedTuple

from agent._native.codec import decode
from agent._native.samples import Samples
from agent.acquire.pdu import Ask, data
from agent.acquire.plan import BLOCK, compile_plan
from agent.batch.record import RECORD, TEXT_LAST, in_json, number_value, text_value
from agent.cli.target import add_options, bus_of, tags_of
from agent.cli.ways import way_to
from agent.cli.words import printable
from agent.config.model import Bus, Config, Gateway, Store, Tag
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
    parser.add_argument("target", metavar="TARGET", help="port path, tcp://HOST[:PORT] or rtu+tcp://HOST:PORT")
    parser.add_argument("register", metavar="REGISTER[:COUNT]", help="holding:100, input:0x64:8, coil:5, 40101")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read, print; exit code 1 when a value does not fit its type."""
    readings = list(read(bus_of(args, tags_of(args, *_counted(args.register)))))
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
    with way_to(bus) as line:
        for block in (part.blocks[at : at + BLOCK.size] for at in range(0, len(part.blocks), BLOCK.size)):
            *_, unit, function, address, quantity, _, _ = BLOCK.unpack(block)
            answer = line.ask(Ask(unit, struct.pack(">BHH", function, address, quantity)))
            decode(block, part.points, data(answer), 0, samples)
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
    if isinstance(reading.value, str):
        return printable(reading.value)
    return _short(reading) if reading.quality.has_value else reading.quality.label


def _short(reading: Reading) -> int | float | str | None:
    return shortest(reading.value, reading.type) if isinstance(reading.value, float) else reading.value


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
