"""Buses with devices whose SunSpec models are looked for in; requests that look, and where the models stand, out; pure.

Nothing is read of a model before it is known where it stands: other registers would come as its values. What was found
in an earlier run is confirmed first, by one request for each model; only of a device that does not answer it is
believed as it is, so that its tags say that it is silent.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from agent.acquire.events import Kind
from agent.acquire.models import Search, Survey, confirm
from agent.acquire.plan import DeviceKey
from agent.acquire.tickets import Steps, Ticket
from agent.config.model import Bus, Device
from agent.config.sunspec import fits, moved
from agent.errors import DeviceError, FieldtapError, NotSentError
from agent.model import NS_PER_MS, NS_PER_S

FIRST_PAUSE_NS = 5 * NS_PER_S  # after a try that was not answered; twice as long after each further one ...
LAST_PAUSE_NS = 60 * NS_PER_S  # ... up to this: a device that comes back is waited for as long as a silent one
LEAST_PAUSES = 50  # timeouts: looking for a device that is off takes no more than 1/50 of the bus
FIRST_PORT_PAUSE_NS, LAST_PORT_PAUSE_NS = 100 * NS_PER_MS, 5 * NS_PER_S  # while the port is not open
FIRST_RECHECK_NS = 30 * NS_PER_S  # what is not there may come: a device that starts may refuse everything ...
LAST_RECHECK_NS = 600 * NS_PER_S  # ... and an update may bring it
NEVER_NS = 1 << 62

Submit = Callable[[int, Steps], Ticket]
Tell = Callable[[Kind, str, str, str], None]


class Places:
    """All units of some buses that have such devices."""

    def __init__(self, buses: Sequence[Bus], remembered: Mapping[DeviceKey, int]) -> None:
        """`remembered`: where an earlier run has found them; believed of devices that stand there in `buses`."""
        self._units = [
            _Unit(line, bus, [device for device in unit if device.sunspec], remembered)
            for line, bus in enumerate(buses)
            for unit in bus.units
            if any(device.sunspec for device in unit)
        ]

    @property
    def hidden(self) -> frozenset[DeviceKey]:
        """Devices of which nobody knows where their models are."""
        return frozenset(key for unit in self._units for key in unit.hidden())

    def starts(self) -> dict[DeviceKey, int]:
        """Where the models of the others are."""
        return {DeviceKey(unit.bus.name, name): start for unit in self._units for name, start in unit.starts.items()}

    def turn(self, now_ns: int, submit: Submit, tell: Tell) -> set[int]:
        """Look for what is to be looked for; the buses of which something is known that was not before."""
        return {unit.line for unit in self._units if unit.turn(now_ns, submit, tell)}

    def next_ns(self) -> int:
        """When to turn next; a ticket that is done rings by itself."""
        return min((unit.due_ns for unit in self._units if unit.ticket is None), default=NEVER_NS)


def placed(buses: Sequence[Bus], starts: Mapping[DeviceKey, int]) -> tuple[Bus, ...]:
    """The buses with these devices where their models stand."""

    def at_place(bus: Bus, device: Device) -> Device:
        start = starts.get(DeviceKey(bus.name, device.name))
        return device if start is None or not device.sunspec else moved(device, start)

    return tuple(replace(bus, devices=tuple(at_place(bus, device) for device in bus.devices)) for bus in buses)


class _Unit:
    """One device on the wire, and those of its tables that are models to be found."""

    def __init__(self, line: int, bus: Bus, devices: Sequence[Device], remembered: Mapping[DeviceKey, int]) -> None:
        self.line = line
        self.bus = bus
        self.ticket: Ticket | None = None
        self.due_ns = 0
        self.starts = {
            device.name: device.start
            for device in devices
            if remembered.get(DeviceKey(bus.name, device.name)) == device.start
        }
        self._devices = {device.name: device for device in devices}
        self._unit = devices[0].unit
        self._head = devices[0].part_of or devices[0].name
        self._search = Search(self._unit)
        self._is_looking = not self._is_whole()  # else what is remembered is confirmed
        self._is_held = not self._is_looking  # until that was tried
        self._pause_ns, self._port_pause_ns, self._recheck_ns = FIRST_PAUSE_NS, FIRST_PORT_PAUSE_NS, FIRST_RECHECK_NS
        self._told = ""

    def hidden(self) -> Iterator[DeviceKey]:
        return (DeviceKey(self.bus.name, name) for name in self._devices if self._is_held or name not in self.starts)

    def turn(self, now_ns: int, submit: Submit, tell: Tell) -> bool:
        """True when models may be read that were not before, or are not any more where they were."""
        before = self._is_held, self.starts
        if self.ticket and self.ticket.done:
            ticket, self.ticket = self.ticket, None
            self._hear(ticket, now_ns, tell)
        if self.ticket is None and now_ns >= self.due_ns:
            self._ask(now_ns, submit, tell)
        return (self._is_held, self.starts) != before

    def _ask(self, now_ns: int, submit: Submit, tell: Tell) -> None:
        numbers = {self._devices[name].sunspec: start for name, start in self.starts.items()}
        steps: Steps = self._search.steps() if self._is_looking else confirm(self._unit, numbers)
        try:
            self.ticket = submit(self.line, steps)
        except NotSentError as error:
            self._wait(error, now_ns, tell)

    def _hear(self, ticket: Ticket, now_ns: int, tell: Tell) -> None:
        if ticket.error:
            self._wait(ticket.error, now_ns, tell)
            return
        self._is_held = False
        self._pause_ns, self._port_pause_ns = FIRST_PAUSE_NS, FIRST_PORT_PAUSE_NS
        if self._is_looking:
            self._conclude(ticket.result, tell)
            self.due_ns = NEVER_NS if self._is_whole() else now_ns + self._recheck_ns
            self._recheck_ns = min(2 * self._recheck_ns, LAST_RECHECK_NS)
        elif ticket.result is None:
            self.due_ns = NEVER_NS
        else:
            self._say(Kind.MODELS_MISSING, f"SunSpec model {ticket.result} is not where it was; looked for anew", tell)
            self.starts = {}
            self._is_looking = True
            self.due_ns = now_ns

    def _wait(self, error: FieldtapError, now_ns: int, tell: Tell) -> None:
        if isinstance(error, NotSentError):
            self.due_ns = now_ns + self._port_pause_ns
            self._port_pause_ns = min(2 * self._port_pause_ns, LAST_PORT_PAUSE_NS)
            return
        self._is_held = False
        self.due_ns = now_ns + max(self._pause_ns, LEAST_PAUSES * self.bus.timeout_ns)
        self._pause_ns = min(2 * self._pause_ns, LAST_PAUSE_NS)
        if self._is_looking:
            why = str(error) if isinstance(error, DeviceError) else self._search.words
            self._say(Kind.MODELS_MISSING, f"its SunSpec models are still to be found ({why})", tell)

    def _conclude(self, survey: Survey | None, tell: Tell) -> None:
        if survey is None:
            words = f"no SunSpec device: none of its bases has 'SunS' ({self._search.words})"
            self._say(Kind.MODELS_MISSING, f"{words}; if its models are elsewhere, write start of the device", tell)
            return
        self.starts = {
            name: survey.starts[device.sunspec]
            for name, device in self._devices.items()
            if device.sunspec in survey.starts and fits(device, survey.starts[device.sunspec])
        }
        if self._is_whole():
            self._say(Kind.MODELS_FOUND, self._found(survey), tell)
        else:
            missing = sorted({device.sunspec for name, device in self._devices.items() if name not in self.starts})
            words = f"it has no SunSpec model {_listed(missing)}; there are {_listed(survey.starts) or 'none'}"
            self._say(Kind.MODELS_MISSING, f"{words}, from {survey.base} on", tell)

    def _found(self, survey: Survey) -> str:
        models = [
            f"{device.sunspec} at {self.starts[name]}"
            + (", the first of several" if device.sunspec in survey.several else "")
            for name, device in self._devices.items()
        ]
        return f"SunSpec model {'; '.join(models)}"

    def _is_whole(self) -> bool:
        return len(self.starts) == len(self._devices)

    def _say(self, kind: Kind, words: str, tell: Tell) -> None:
        """The same is said once."""
        if words != self._told:
            tell(kind, self.bus.name, words, self._head)
        self._told = words


def _listed(numbers: Collection[int]) -> str:
    return ", ".join(map(str, numbers))
