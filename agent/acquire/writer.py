"""Tags by name and values in; checked, rate-limited, audited writes on their way to the buses, as tickets, out."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from agent.acquire.audit import Audit
from agent.acquire.port import wire_of
from agent.acquire.tickets import Steps, Ticket
from agent.acquire.write import REFUSED, Change, Outcome, Value, carry_out, change_of
from agent.config.model import Config, Tag
from agent.config.report import did_you_mean
from agent.errors import FieldtapError, RefusedError
from agent.model import NS_PER_S


class Submits(Protocol):
    """What a writer needs of the acquisition."""

    def submit(self, bus: str, steps: Steps) -> Ticket:
        """Carry out requests between the polls of a bus."""


class _Place(NamedTuple):
    bus: str
    is_tcp: bool
    unit: int
    tag: Tag


class Writer:
    """Writes tags, within what the configuration allows; every attempt is recorded."""

    def __init__(self, config: Config, acquisition: Submits, audit: Audit, wall_s: Callable[[], float]) -> None:
        self._places = {
            f"{bus.name}/{device.name}/{tag.name}": _Place(bus.name, wire_of(bus).is_tcp, device.unit, tag)
            for bus in config.buses
            for device in bus.devices
            for tag in device.tags
        }
        self._acquisition = acquisition
        self._audit = audit
        self._wall_s = wall_s
        self._written_ns: dict[str, int] = {}

    def write(self, name: str, value: Value, who: str, now_ns: int) -> Ticket:
        """Write one tag; the ticket's result is an Outcome. Raises RefusedError, or NotSentError when too many wait."""
        try:
            place = self._place(name)
            change = change_of(name, place.unit, place.tag, value)
            self._check_rate(change, now_ns)
            steps = carry_out(change, is_tcp=place.is_tcp)
            ticket = self._acquisition.submit(place.bus, self._audited(change, who, steps))
        except FieldtapError as error:
            self._record(name, value, who, Outcome(REFUSED, why=str(error)))
            raise
        self._written_ns[name] = now_ns
        return ticket

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            raise RefusedError(f"{name}: there is no such tag{did_you_mean(name, self._places)}")
        return self._places[name]

    def _check_rate(self, change: Change, now_ns: int) -> None:
        rate_ns = change.tag.write.rate_ns if change.tag.write else 0
        since_ns = now_ns - self._written_ns.get(change.name, now_ns - rate_ns)
        if since_ns < rate_ns:
            raise RefusedError(
                f"{change.name}: {change.value} comes {since_ns / NS_PER_S:.3g} s after the write before; "
                f"it allows one in {rate_ns / NS_PER_S:g} s"
            )

    def _audited(self, change: Change, who: str, steps: Steps) -> Steps:
        outcome = yield from steps
        self._record(change.name, change.value, who, outcome)
        return outcome

    def _record(self, name: str, value: Value, who: str, outcome: Outcome) -> None:
        self._audit.record(
            t=self._wall_s(),
            who=who,
            tag=name,
            value=value,
            old=outcome.old,
            new=outcome.new,
            result=outcome.result,
            **({"why": outcome.why} if outcome.why else {}),
        )
