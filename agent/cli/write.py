"""`fieldtap write`: one register and a value in words, written once and read back, out."""

import argparse
import json
import math
import sys

from agent.acquire.once import Line
from agent.acquire.port import wire_of
from agent.acquire.write import (
    BROADCAST,
    DIFFERS,
    FAILED,
    REFUSED,
    Change,
    Outcome,
    Value,
    carry_out,
    encoded,
    encoded_record,
    held,
    value_of,
)
from agent.batch.record import shortest
from agent.cli.target import add_form, add_options, bus_of, file_of, tags_of
from agent.cli.words import printable
from agent.config.model import Bus, Tag
from agent.errors import DeviceError, ExitCode, UsageError

EXIT_CODES = {DIFFERS: ExitCode.FAILURE, REFUSED: ExitCode.FAILURE, FAILED: ExitCode.UNAVAILABLE}  # else 0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("target", metavar="TARGET", help="port path, tcp://HOST[:PORT] or rtu+tcp://HOST:PORT")
    parser.add_argument("register", metavar="REGISTER", help="holding:100, coil:5, 40101, file:FILE:RECORD")
    parser.add_argument("value", metavar="VALUE", help="a number, on, off, or text")
    add_form(parser)
    add_options(parser)
    parser.add_argument("--yes", action="store_true", help="write without asking")
    parser.add_argument("--function", metavar="F", type=int, default=0, help="5 6 15 16 22 23 (default: the usual one)")
    parser.add_argument("--broadcast", action="store_true", help="allow --unit 0: every device of the line writes")


def run(args: argparse.Namespace) -> int:
    """Ask, write, read back, say what came of it."""
    file = file_of(args.register)
    bus = _bus(args, tags_of(args, args.register, 1))
    change = _change(args, file, bus)
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on; add --yes to write without asking")
    with Line(bus) as line:
        if not args.yes and not _is_wanted(line, change):
            print("nothing was written", file=sys.stderr)
            return ExitCode.FAILURE
        outcome = line.carry_out(carry_out(change))
    _tell(args, change, outcome)
    return EXIT_CODES.get(outcome.result, ExitCode.OK)


def _change(args: argparse.Namespace, file: int, bus: Bus) -> Change:
    [device] = bus.devices
    [tag] = device.tags
    if not file:
        return encoded(f"{tag.table}:{tag.address}", device.unit, tag, args.value, args.function)
    if args.function:
        raise UsageError(f"--function {args.function}: a file's records are written with function 21 alone")
    return encoded_record(file, device.unit, tag, args.value)


def _bus(args: argparse.Namespace, tags: tuple[Tag, ...]) -> Bus:
    bus = bus_of(args, tags, broadcast=True)
    is_broadcast = args.unit == BROADCAST and not wire_of(bus).tcp
    if is_broadcast and not args.broadcast:
        raise UsageError(
            "--unit 0 is a broadcast: every device of the line would write; add --broadcast if that is meant"
        )
    if args.broadcast and not is_broadcast:
        raise UsageError(f"--broadcast goes with --unit 0 on a serial line, not with --unit {args.unit}")
    return bus


def _is_wanted(line: Line, change: Change) -> bool:
    print(f"unit {change.unit}, {change.name}: {_before(line, change)}", file=sys.stderr)
    print(f"write {change.value}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _before(line: Line, change: Change) -> str:
    if change.unit == BROADCAST:
        return "a broadcast, to every device of the line"
    try:
        return f"holds {_safe(_shown(change.tag, value_of(change.tag, line.carry_out(held(change)))))}"
    except DeviceError as error:
        return f"cannot be read: {error}"


def _tell(args: argparse.Namespace, change: Change, outcome: Outcome) -> None:
    old, new = (_shown(change.tag, value) for value in (outcome.old, outcome.new))
    if args.json:
        facts = {"target": args.target, "unit": args.unit, "register": change.name, "value": args.value}
        told = {"old": old, "new": new, "result": outcome.result, "why": outcome.why}
        print(json.dumps(facts | told, allow_nan=False))
        return
    if outcome.why:
        print(f"fieldtap: {outcome.result}: {outcome.why}", file=sys.stderr)
    if outcome.new is not None:
        print(f"{change.name} {'?' if old is None else _safe(old)} -> {_safe(new)}")


def _safe(value: Value | None) -> Value | None:
    return printable(value) if isinstance(value, str) else value


def _shown(tag: Tag, value: Value | None) -> Value | None:
    """As short as it can be told from its neighbours; JSON has no NaN and no infinity."""
    if not isinstance(value, float):
        return value
    return shortest(value, tag.type) if math.isfinite(value) else str(value)
