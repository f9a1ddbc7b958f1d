"""`fieldtap write`: one register and a value in words, written once and read back, out."""

import argparse
import json
import sys

from agent.acquire.once import Line, driven
from agent.acquire.pdu import BROADCAST
from agent.acquire.port import wire_of
from agent.acquire.write import (
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
from agent.cli.target import TARGETS, add_form, add_options, bus_of, file_of, tags_of
from agent.cli.words import printable
from agent.config.model import Bus
from agent.control.client import AgentBus, owner
from agent.control.protocol import form_facts
from agent.digits import finite
from agent.errors import DeviceError, ExitCode, UsageError

EXIT_CODES = {DIFFERS: ExitCode.FAILURE, REFUSED: ExitCode.FAILURE, FAILED: ExitCode.UNAVAILABLE}  # else 0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("target", metavar="TARGET", help=TARGETS)
    parser.add_argument("register", metavar="REGISTER", help="holding:100, coil:5, 40101, file:FILE:RECORD")
    parser.add_argument("value", metavar="VALUE", help="a number, on, off, or text")
    add_form(parser)
    add_options(parser)
    parser.add_argument("--yes", action="store_true", help="write without asking")
    parser.add_argument("--function", metavar="F", type=int, default=0, help="5 6 15 16 22 23 (default: the usual one)")
    parser.add_argument("--broadcast", action="store_true", help="allow --unit 0: every device of the line writes")


def run(args: argparse.Namespace) -> int:
    """Ask, write, read back, say what came of it; through the running agent if one has the port."""
    bus = _bus(args)
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on; add --yes to write without asking")
    with owner(bus.port) as agent:
        if agent is not None:
            return _carried_out(args, _tag_of(agent, bus, args))
    change = _change(bus, args)
    with Line(bus) as line:
        return _carried_out(args, Register(line, change, is_tcp=wire_of(bus).is_tcp))


def _carried_out(args: argparse.Namespace, way: "Register | AgentTag") -> int:
    if not args.yes and not _is_wanted(args, way):
        print("nothing was written", file=sys.stderr)
        return ExitCode.FAILURE
    outcome = way.write()
    _tell(args, way.name, outcome)
    return EXIT_CODES.get(outcome.result, ExitCode.OK)


def _bus(args: argparse.Namespace) -> Bus:
    bus = bus_of(args, tags_of(args, args.register, 1), broadcast=True)
    is_broadcast = args.unit == BROADCAST and not wire_of(bus).is_tcp
    if is_broadcast and not args.broadcast:
        raise UsageError(
            "--unit 0 is a broadcast: every device of the line would write; add --broadcast if that is meant"
        )
    if args.broadcast and not is_broadcast:
        raise UsageError(f"--broadcast goes with --unit 0 on a serial line, not with --unit {args.unit}")
    return bus


class Register:
    """A register to be written over a port of its own, with no limits but those of its type."""

    def __init__(self, line: Line, change: Change, *, is_tcp: bool) -> None:
        self._line = line
        self._change = change
        self._is_tcp = is_tcp
        self.name = change.name

    def before(self) -> str:
        """What it holds, in words."""
        unit, tag, file = self._change.unit, self._change.tag, self._change.file
        if unit == BROADCAST and not self._is_tcp:
            return "a broadcast, to every device of the line"
        try:
            return f"holds {_safe(finite(value_of(tag, driven(self._line, held(unit, tag, file)))))}"
        except DeviceError as error:
            return f"cannot be read: {error}"

    def write(self) -> Outcome:
        """Write it and read it back."""
        return driven(self._line, carry_out(self._change, is_tcp=self._is_tcp))


class AgentTag:
    """A tag of the running agent that has the port, to be written within its limits."""

    def __init__(self, agent: AgentBus, name: str, held_: Value | None, value: str) -> None:
        self._agent = agent
        self._held = held_
        self._value = value
        self.name = name

    def before(self) -> str:
        """What it holds, in words."""
        return f"holds {_safe(self._held)}"

    def write(self) -> Outcome:
        """Have it written and read back."""
        return Outcome(**self._agent.call("write", tag=self.name, value=self._value))


def _tag_of(agent: AgentBus, bus: Bus, args: argparse.Namespace) -> AgentTag:
    [device] = bus.devices
    [tag] = device.tags
    if args.function or args.broadcast:
        raise UsageError("the running agent has the port; its configuration says how a tag is written")
    if file_of(args.register):
        raise UsageError("the running agent has the port, and tags are registers and coils: stop it to write a file")
    form = form_facts(tag) if args.type else None
    found = agent.call("tag", bus=agent.name, unit=device.unit, table=str(tag.table), address=tag.address, form=form)
    return AgentTag(agent, found["tag"], found["value"], args.value)


def _change(bus: Bus, args: argparse.Namespace) -> Change:
    [device] = bus.devices
    [tag] = device.tags
    file = file_of(args.register)
    if not file:
        return encoded(f"{tag.table}:{tag.address}", device.unit, tag, args.value, args.function)
    if args.function:
        raise UsageError(f"--function {args.function}: a file's records are written with function 21 alone")
    return encoded_record(file, device.unit, tag, args.value)


def _is_wanted(args: argparse.Namespace, way: Register | AgentTag) -> bool:
    print(f"unit {args.unit}, {way.name}: {way.before()}", file=sys.stderr)
    print(f"write {args.value}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tell(args: argparse.Namespace, name: str, outcome: Outcome) -> None:
    old, new = finite(outcome.old), finite(outcome.new)
    if args.json:
        facts = {"target": args.target, "unit": args.unit, "register": name, "value": args.value}
        told = {"old": old, "new": new, "result": outcome.result, "why": outcome.why}
        print(json.dumps(facts | told, allow_nan=False))
        return
    if outcome.why:
        print(f"fieldtap: {outcome.result}: {outcome.why}", file=sys.stderr)
    if outcome.new is not None:
        print(f"{name} {'?' if old is None else _safe(old)} -> {_safe(new)}")


def _safe(value: Value | None) -> Value | None:
    return printable(value) if isinstance(value, str) else value
