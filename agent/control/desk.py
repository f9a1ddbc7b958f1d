"""Requests of other programs in; what the running agent's buses make of them out.

| `do` | with | answers |
|---|---|---|
| `hello` | | `gateway`, `version`, `pid` |
| `bus` | `port` | `bus`: the name of the one that has this port, or null |
| `ask` | `bus unit pdu` | `pdu`: one request that only reads, between the polls |
| `tag` | `bus unit table address form` | `tag`: the one that lies there and may be written; the `value` it holds |
| `write` | `tag value` | `tag old new result why`; within the tag's limits, and recorded |
"""

import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import agent
from agent.acquire import pdu
from agent.acquire.audit import Audit
from agent.acquire.bus import Acquisition
from agent.acquire.pdu import Ask
from agent.acquire.port import whereabouts
from agent.acquire.tickets import Ticket
from agent.acquire.write import Outcome, held, value_of
from agent.acquire.writer import Writer
from agent.config.model import Config, Tag
from agent.control.protocol import Facts, Request, form_facts
from agent.control.server import Server
from agent.control.sockets import own_path, sweep
from agent.digits import finite
from agent.errors import RefusedError, UsageError

MAX_UNIT = 255
MAX_ADDRESS = 65535

Answer = Callable[[Request], Ticket | Facts]

log = logging.getLogger(__name__)


class Desk:
    """What a running agent does for other programs, by name of the request."""

    def __init__(self, config: Config, acquisition: Acquisition) -> None:
        self._gateway = config.gateway.id
        self._buses = config.buses
        self._acquisition = acquisition
        self._writer = Writer(config, acquisition, Audit(Path(config.store.path)), time.time)
        self._writable = [
            (bus.name, device.unit, f"{bus.name}/{device.name}/{tag.name}", tag)
            for bus in config.buses
            for device in bus.devices
            for tag in device.tags
            if tag.write
        ]

    def serve(self, request: Request, who: str, now_ns: int) -> Ticket | Facts:
        """Carry out one request, at once or with a ticket whose result will be its facts. Raises FieldtapError."""
        if request.do == "write":
            return self._write(request, who, now_ns)
        answers: dict[str, Answer] = {"hello": self._hello, "bus": self._bus, "ask": self._ask, "tag": self._tag}
        if request.do not in answers:
            raise UsageError(f"there is no {request.do!r} to be done; there are {', '.join(answers)}, write")
        return answers[request.do](request)

    def _hello(self, _: Request) -> Facts:
        return {"gateway": self._gateway, "version": agent.__version__, "pid": os.getpid()}

    def _bus(self, request: Request) -> Facts:
        wanted = request.text("port")
        return {"bus": next((bus.name for bus in self._buses if whereabouts(bus.port) == wanted), None)}

    def _ask(self, request: Request) -> Ticket:
        ask = Ask(request.number("unit", MAX_UNIT), request.hexadecimal("pdu"))
        if not pdu.only_reads(ask.request):
            raise RefusedError("only requests that read are passed on; writing goes by tags and their limits")
        return self._acquisition.submit(self._bus_of(request), _asked(ask))

    def _bus_of(self, request: Request) -> str:
        names = [bus.name for bus in self._buses]
        if request.text("bus") not in names:
            raise UsageError(f"there is no bus {request.text('bus')!r}; there are {', '.join(names)}")
        return request.text("bus")

    def _tag(self, request: Request) -> Ticket:
        bus, unit = self._bus_of(request), request.number("unit", MAX_UNIT)
        place = request.text("table"), request.number("address", MAX_ADDRESS)
        name, tag = self._tag_at(bus, unit, place, request.facts.get("form"))
        return self._acquisition.submit(bus, _read(unit, name, tag))

    def _tag_at(self, bus: str, unit: int, place: tuple[str, int], form: object) -> tuple[str, Tag]:
        """The one tag that begins there and may be written; `form`, if given, tells those of one register apart."""
        where = f"{place[0]}:{place[1]} of unit {unit} on bus {bus}"
        there = [(name, tag) for *at, name, tag in self._writable if at == [bus, unit] and tag.table == place[0]]
        found = [each for each in there if each[1].address == place[1] and form in (None, form_facts(each[1]))]
        if not found:
            raise RefusedError(
                f"{where}: the running agent's configuration has no such tag with `write = {{ min = .., max = .. }}`; "
                "add it, or stop the agent to write past it"
            )
        if len(found) > 1:
            names = ", ".join(name for name, _ in found)
            raise RefusedError(f"{where} is {names}; say which with --type")
        return found[0]

    def _write(self, request: Request, who: str, now_ns: int) -> Ticket:
        value = request.facts.get("value")
        if not isinstance(value, int | float | str):
            raise UsageError(f"write: value is {value!r}, it must be a number or text")
        return self._writer.write(request.text("tag"), value, who, now_ns)


class Control:
    """Tickets and the socket of one agent, in its main thread."""

    def __init__(self, config: Config, acquisition: Acquisition) -> None:
        self._tickets = acquisition.tickets
        self._desk = Desk(config, acquisition)
        self._server: Server | None = None

    def start(self) -> list[int]:
        """Open the socket; what to poll for turn(). Without a place for it nobody can ask, but all else works."""
        try:
            path = own_path()
            sweep(path.parent)
            self._server = Server(path, self._desk.serve, _told)
        except OSError as error:
            log.warning("no control socket: %s: `fieldtap read` and `write` cannot reach this agent", error)
            return [self._tickets.fileno()]
        return [self._tickets.fileno(), self._server.fileno()]

    def turn(self, now_ns: int) -> None:
        """Move every request one step on."""
        finished = self._tickets.turn(now_ns)
        if self._server:
            self._server.turn(finished, now_ns)

    def stop(self, cancelled: Sequence[Ticket], now_ns: int) -> None:
        """Tell those who wait that nothing more will come, and close the socket."""
        if self._server:
            self._server.turn(cancelled, now_ns)
            self._server.close()


def _asked(ask: Ask) -> Generator[Ask, bytes, Facts]:
    return {"pdu": (yield ask).hex()}


def _read(unit: int, name: str, tag: Tag) -> Generator[Ask, bytes, Facts]:
    return {"tag": name, "value": finite(value_of(tag, (yield from held(unit, tag))))}


def _told(result: Any) -> Facts:
    """A ticket's result as an answer."""
    facts: Facts = result._asdict() if isinstance(result, Outcome) else result
    return {key: finite(fact) for key, fact in facts.items()}
