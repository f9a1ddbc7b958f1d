"""`fieldtap identify`: one device in words; what it says of itself, and the device maps that fit it, out."""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping

from agent.acquire.inquiry import COUNTERS, Inquiry
from agent.acquire.once import driven
from agent.cli.target import add_options, bus_of
from agent.cli.ways import way_to
from agent.cli.words import printable
from agent.devices.catalogue import shipped
from agent.devices.model import DeviceMap
from agent.devices.recognise import Fit, fits, places
from agent.errors import ExitCode

OBJECTS = {  # Modbus Application Protocol V1.1b3, 6.21
    0: "vendor",
    1: "product code",
    2: "revision",
    3: "vendor's address",
    4: "product name",
    5: "model name",
    6: "application name",
}
WIDTH = 24  # of the questions, so that the answers stand below one another


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("target", metavar="TARGET", help="port path, tcp://HOST[:PORT] or rtu+tcp://HOST:PORT")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, compare, print. A device that says something is no failure, whether a map fits it or not."""
    maps = shipped()
    inquiry = Inquiry(args.unit, places(maps.values()))
    with way_to(bus_of(args, ())) as line:
        driven(line, inquiry.steps())
    found = fits(maps, inquiry.traits)
    if args.json:
        print(json.dumps(_document(args, inquiry, found), allow_nan=False))
    else:
        _print([*_answers(inquiry), *_maps(found, maps)])
    return ExitCode.OK


def _document(args: argparse.Namespace, inquiry: Inquiry, found: list[Fit]) -> dict[str, object]:
    return {
        "target": args.target,
        "unit": args.unit,
        "identification": {str(number): _text(text) for number, text in inquiry.objects.items()},
        "server_id": inquiry.server_id.hex(),
        "exception_status": inquiry.status,
        "events": inquiry.events and {**inquiry.events._asdict(), "log": inquiry.events.log.hex()},
        "loops_back": inquiry.loops_back,
        "counters": {COUNTERS[which]: count for which, count in inquiry.counters.items()},
        "registers": {f"{place.table}:{place.address}": held.hex() for place, held in inquiry.registers.items()},
        "not_answered": [reply._asdict() for reply in inquiry.replies if reply.why],
        "maps": [{"name": fit.name, "title": fit.title, "reasons": fit.reasons} for fit in found],
    }


def _print(lines: Iterable[tuple[str, str]]) -> None:
    for label, words in lines:
        print(f"{label:<{WIDTH}}{words}")


def _answers(inquiry: Inquiry) -> Iterator[tuple[str, str]]:
    """Each question and what was said, or why nothing was."""
    said = _said(inquiry)
    for reply in inquiry.replies:
        label = f"{reply.question} ({reply.function})"
        for words in [*said[reply.question], *([reply.why] if reply.why else [])]:
            yield label, words
            label = ""


def _maps(found: list[Fit], maps: Mapping[str, DeviceMap]) -> Iterator[tuple[str, str]]:
    for fit in found:
        yield "device map", f"{fit.name}: {fit.title}; {', '.join(map(printable, fit.reasons))}"
    if not found:
        known = sum(bool(one.identity) for one in maps.values())
        yield "device map", f"none of the {known} that say how their devices are recognised; {len(maps)} ship"


def _said(inquiry: Inquiry) -> dict[str, list[str]]:
    """The answer to each question, in lines."""
    events = inquiry.events
    counters = [f"{COUNTERS[which]} {count}" for which, count in inquiry.counters.items()]
    return {
        "identification": [
            f"{OBJECTS.get(number, f'object {number}')}: {printable(_text(text))}"
            for number, text in inquiry.objects.items()
        ],
        "server id": [f"{inquiry.server_id.hex(' ')}  {printable(_text(inquiry.server_id))}"]
        if inquiry.server_id
        else [],
        "registers": [
            f"{place.table}:{place.address} holds {held.hex(' ')}" for place, held in inquiry.registers.items()
        ],
        "exception status": [] if inquiry.status is None else [f"{inquiry.status:#04x}"],
        "event counter": [f"{events.completed}{', busy' if events.is_busy else ''}"] if events else [],
        "event log": [events.log.hex(" ")] if events and events.messages is not None else [],
        "diagnostics": (["loops back"] if inquiry.loops_back else []) + ([", ".join(counters)] if counters else []),
    }


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0 ").decode(errors="replace")
