"""Devices whose SunSpec models are found while the agent runs: nothing is read unseen, nobody is asked without end."""

import select
import struct
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from layouts import records
from msgspec.structs import replace
from sunspec_device import SUNS, UNIT, Registers, chain
from wire import with_crc

from agent._native.samples import Samples
from agent.acquire.bus import Acquisition
from agent.acquire.events import Kind
from agent.acquire.memory import Memory
from agent.acquire.places import (
    FIRST_PAUSE_NS,
    FIRST_RECHECK_NS,
    LAST_PAUSE_NS,
    LAST_PORT_PAUSE_NS,
    LAST_RECHECK_NS,
    LEAST_PAUSES,
    NEVER_NS,
    Places,
    placed,
)
from agent.acquire.plan import DeviceKey, compile_plan
from agent.acquire.tickets import Steps, Ticket
from agent.config.model import Bus, Config, Device, Table, Tag
from agent.errors import BusError, DeviceError, NotSentError
from agent.model import NS_PER_MS, NS_PER_S, Quality, ValueType

INVERTER, STORAGE, METER = (DeviceKey("b", name) for name in ("inverter", "storage", "meter"))
TIMEOUT_NS = 20 * NS_PER_MS


def model(name: str, number: int, start: int, part_of: str = "") -> Device:
    tags = tuple(
        Tag(name=f"t{at}", table=Table.HOLDING, address=start + at, type=ValueType.U16, moves=True, every_ns=NS_PER_MS)
        for at in (2, 3)
    )
    return Device(name=name, unit=UNIT, part_of=part_of, sunspec=number, start=start, tags=tags)


def bus_of(*devices: Device, **settings: Any) -> Bus:
    return Bus(**{"name": "b", "port": "/dev/x", "timeout_ns": TIMEOUT_NS, "devices": devices, **settings})


BUS = bus_of(model("inverter", 103, 40_070), model("storage", 124, 40_122, "inverter"))


class World:
    """Places of one bus, a device that answers at once or not at all, and the time."""

    def __init__(self, held: dict[int, int], bus: Bus = BUS, remembered: dict[DeviceKey, int] | None = None) -> None:
        self.device = Registers(held)
        self.places = Places([bus], remembered or {})
        self.now_ns = 0
        self.tries: list[int] = []
        self.told: list[tuple[Kind, str, str]] = []
        self.is_open = True

    def submit(self, line: int, steps: Steps) -> Ticket:
        assert line == 0
        if not self.is_open:
            raise NotSentError("the port is not open")
        self.tries.append(self.now_ns)
        ticket = Ticket(steps)
        ask = ticket.next_ask(None)
        while ask:
            try:
                ask = ticket.next_ask(self.device.answer(ask))
            except (BusError, DeviceError) as error:
                ask = ticket.next_ask(error)
        return ticket

    def tell(self, kind: Kind, bus: str, words: str, device: str) -> None:
        assert bus == "b"
        self.told.append((kind, device, words))

    def turn(self) -> set[int]:
        """Ask, hear what came of it, and so on."""
        changed, tries = set(), -1
        while tries != len(self.tries):
            tries = len(self.tries)
            changed |= self.places.turn(self.now_ns, self.submit, self.tell)
        return changed

    def run(self, seconds: float) -> None:
        end = self.now_ns + int(seconds * NS_PER_S)
        while self.now_ns < end:
            self.turn()
            self.now_ns = min(max(self.now_ns + 1, self.places.next_ns()), end)


def test_nothing_is_known_before_the_device_has_told() -> None:
    world = World(chain(0, (1, 66), (103, 50), (124, 24)))
    assert world.places.hidden == {INVERTER, STORAGE}
    assert world.turn() == {0}
    assert world.places.hidden == frozenset()
    assert world.places.starts() == {INVERTER: 70, STORAGE: 122}
    assert world.told == [(Kind.MODELS_FOUND, "inverter", "SunSpec model 103 at 70; 124 at 122")]
    assert world.places.next_ns() == NEVER_NS
    world.run(10_000)
    assert len(world.tries) == 1


def test_the_tables_stand_where_their_models_do() -> None:
    inverter, storage = placed([BUS], {INVERTER: 70})[0].devices
    assert [tag.address for tag in inverter.tags] == [72, 73]
    assert storage == BUS.devices[1]
    own = replace(BUS.devices[0], tags=(replace(BUS.devices[0].tags[0], moves=False, address=9),))
    assert placed([bus_of(own)], {INVERTER: 70})[0].devices[0].tags[0].address == 9


def test_a_device_that_is_off_is_asked_ever_more_seldom_and_within_its_share_of_the_bus() -> None:
    world = World({})
    world.device.code = None
    world.run(3600)
    pauses = [after - before for before, after in pairwise(world.tries)]
    assert pauses[:5] == [min(FIRST_PAUSE_NS << times, LAST_PAUSE_NS) for times in range(5)]
    assert set(pauses[5:]) == {LAST_PAUSE_NS}
    assert len(world.told) == 1
    assert world.told[0][2] == "its SunSpec models are still to be found (it does not answer)"
    world.device.held, world.device.code = chain(40_000, (1, 66), (103, 50), (124, 24)), 2
    world.run(LAST_PAUSE_NS / NS_PER_S + 1)
    assert world.told[1][0] is Kind.MODELS_FOUND


def test_a_long_timeout_makes_the_pauses_longer() -> None:
    world = World({}, replace(BUS, timeout_ns=10 * NS_PER_S))
    world.device.code = None
    world.run(3600)
    assert world.tries[1] - world.tries[0] == LEAST_PAUSES * 10 * NS_PER_S


def test_a_device_without_the_mark_is_told_of_once_with_what_helps_and_looked_at_again_seldom() -> None:
    world = World({0: 7, 1: 8})
    world.run(3600)
    assert world.told == [
        (
            Kind.MODELS_MISSING,
            "inverter",
            "no SunSpec device: none of its bases has 'SunS' (40000: refused with 2; 0: holds 0x0007 0x0008; "
            "50000: refused with 2); if its models are elsewhere, write start of the device",
        )
    ]
    pauses = [after - before for before, after in pairwise(world.tries)]
    assert pauses == [min(FIRST_RECHECK_NS << times, LAST_RECHECK_NS) for times in range(len(pauses))]
    assert pauses[-1] == LAST_RECHECK_NS
    assert world.places.hidden == {INVERTER, STORAGE}


def test_a_model_that_is_not_there_is_named_with_those_that_are_and_the_others_are_read() -> None:
    world = World(chain(40_000, (1, 65), (101, 50), (124, 24)))
    assert world.turn() == {0}
    assert world.places.hidden == {INVERTER}
    assert world.places.starts() == {STORAGE: 40_121}
    words = "it has no SunSpec model 103; there are 1, 101, 124, from 40000 on"
    assert world.told == [(Kind.MODELS_MISSING, "inverter", words)]
    world.device.held = chain(40_000, (1, 65), (103, 50), (124, 24))
    world.device.held.pop(40_000)
    world.run(FIRST_RECHECK_NS / NS_PER_S + 1)
    assert world.places.starts() == {STORAGE: 40_121}, "what was found is not given up for a refusal"
    world.device.held[40_000] = SUNS[0]
    world.run(LAST_RECHECK_NS / NS_PER_S)
    assert world.places.starts() == {INVERTER: 40_069, STORAGE: 40_121}


def test_a_model_that_would_reach_beyond_the_last_register_is_none() -> None:
    world = World(chain(40_000, (1, 65_533 - 40_004), (103, 1)), bus_of(model("inverter", 103, 40_070)))
    world.turn()
    assert world.places.hidden == {INVERTER}


def test_of_several_models_alike_the_first_is_taken_and_said_to_be_one() -> None:
    bus = bus_of(model("meter", 203, 40_070))
    world = World(chain(40_000, (1, 66), (203, 105), (203, 105)), bus)
    world.turn()
    assert world.places.starts() == {METER: 40_070}
    assert world.told[0][2] == "SunSpec model 203 at 40070, the first of several"


# --- what an earlier run has found ---

HERE = {INVERTER: 40_070, STORAGE: 40_122}


def test_what_is_remembered_is_read_once_it_is_confirmed_and_nothing_else_is_asked() -> None:
    world = World(chain(40_000, (1, 66), (103, 50), (124, 24)), remembered=HERE)
    assert world.places.hidden == {INVERTER, STORAGE}
    assert world.turn() == {0}
    assert world.places.hidden == frozenset()
    assert (world.device.asked, world.told) == ([40_070, 40_122], [])
    world.run(10_000)
    assert len(world.tries) == 1


def test_what_is_remembered_of_elsewhere_is_not_believed() -> None:
    world = World({}, remembered={INVERTER: 40_069, STORAGE: 40_121})
    world.turn()
    assert world.device.asked == [40_000, 0, 50_000]


def test_what_is_not_where_it_was_is_looked_for_and_never_read_meanwhile() -> None:
    world = World(chain(0, (1, 66), (103, 50), (124, 24)), remembered=HERE)
    seen = set()
    for _ in range(4):
        world.places.turn(world.now_ns, world.submit, world.tell)
        seen.add((world.places.hidden, *sorted(world.places.starts().values())))
    assert (frozenset(), 40_070, 40_122) not in seen
    assert world.places.starts() == {INVERTER: 70, STORAGE: 122}
    assert [kind for kind, *_ in world.told] == [Kind.MODELS_MISSING, Kind.MODELS_FOUND]


def test_a_remembered_device_that_is_off_is_polled_and_confirmed_once_it_answers() -> None:
    world = World(chain(0, (1, 66), (103, 50), (124, 24)), remembered=HERE)
    world.device.silent = (40_070,)
    assert world.turn() == {0}
    assert world.places.hidden == frozenset(), "so that its tags say that it is silent"
    world.device.silent = ()
    world.run(LAST_PAUSE_NS / NS_PER_S)
    assert world.places.starts() == {INVERTER: 70, STORAGE: 122}


def test_a_port_that_is_not_open_is_waited_for_and_holds_everything() -> None:
    world = World(chain(40_000, (1, 66), (103, 50), (124, 24)), remembered=HERE)
    world.is_open = False
    for _ in range(20):
        world.turn()
        assert world.places.next_ns() - world.now_ns <= LAST_PORT_PAUSE_NS
        world.now_ns = world.places.next_ns()
    assert world.now_ns > 10 * LAST_PORT_PAUSE_NS, "and not asked all the time whether it is"
    assert world.places.hidden == {INVERTER, STORAGE}
    world.is_open = True
    world.turn()
    assert world.places.hidden == frozenset()
    assert world.told == []


# --- on a port ---


def pty_answer(held: dict[int, int]) -> Callable[[int, int, int, int], bytes]:
    def answer(unit: int, function: int, address: int, count: int) -> bytes:
        if not all(at in held for at in range(address, address + count)):
            return with_crc(bytes([unit, function | 0x80, 2]))
        words = b"".join(struct.pack(">H", held[at]) for at in range(address, address + count))
        return with_crc(bytes([unit, function, len(words)]) + words)

    return answer


class Agent:
    """What the main loop does of a gateway with one bus."""

    def __init__(self, config: Config, store: Path) -> None:
        self.memory = Memory(str(store))
        buses = placed(config.buses, self.memory.places(config.buses))
        config = replace(config, buses=buses)
        self.acquisition = Acquisition(buses, compile_plan(config, self.memory.recall(buses)), self.memory)
        self.values: dict[int, set[int]] = {}
        self.acquisition.start()

    def wait(self, wanted: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not wanted():
            assert time.monotonic() < deadline, (self.values, self.acquisition.stats())
            self.acquisition.tickets.turn(time.monotonic_ns())
            samples = Samples()
            self.acquisition.drain(samples)
            for sample in records(samples):
                if sample.quality == Quality.GOOD:
                    self.values.setdefault(sample.tag, set()).add(sample.value)
            self.acquisition.look(time.monotonic_ns())
            select.select([self.acquisition.fileno(), self.acquisition.tickets.fileno()], [], [], 0.005)


@pytest.fixture
def agent(tmp_path: Path, device: Any, config_of: Callable[..., Config]) -> Iterator[Callable[[], Agent]]:
    started: list[Agent] = []

    def start() -> Agent:
        device.units = (UNIT,)
        bus = replace(BUS, port=str(device.path), baud=115_200, parity="N", timeout_ns=200 * NS_PER_MS)
        started.append(Agent(config_of(bus), tmp_path / "store"))
        return started[-1]

    yield start
    for each in started:
        each.acquisition.stop()


def numbered(base: int) -> dict[int, int]:
    """A device of which each register of a model holds its distance from the model's number."""
    start = base + 69
    values = {start + at: 100 + at for at in range(2, 52)} | {start + 52 + at: 200 + at for at in range(2, 26)}
    return values | chain(base, (1, 65), (103, 50), (124, 24))


TRUE = {0: {102}, 1: {103}, 2: {202}, 3: {203}}


@pytest.mark.parametrize("base", [0, 40_000, 50_000])
def test_values_are_those_of_the_models_wherever_these_stand(
    agent: Callable[[], Agent], device: Any, base: int
) -> None:
    """The common model is shorter than the usual one, so that everything stands one register before its usual place."""
    device.answer = pty_answer(dict.fromkeys(range(65_536), 9999) | numbered(base))
    running = agent()
    running.wait(lambda: len(running.values) == 4)
    assert running.values == TRUE
    assert running.memory.places(running.acquisition._buses) == {INVERTER: base + 69, STORAGE: base + 121}


def test_a_restart_knows_the_place_and_one_that_is_another_device_by_then_shows_no_value_of_it(
    agent: Callable[[], Agent], device: Any
) -> None:
    device.answer = pty_answer(numbered(0))
    first = agent()
    first.wait(lambda: len(first.values) == 4)
    first.acquisition.stop()
    second = agent()
    second.wait(lambda: len(second.values) == 4)
    assert [event.kind for event in second.acquisition.chronicle.since(0)] == [Kind.PORT_UP], "nothing was looked for"
    second.acquisition.stop()
    device.answer = pty_answer(dict.fromkeys(range(200), 9999) | numbered(50_000) | {0: 1, 1: 2})
    third = agent()
    third.wait(lambda: len(third.values) == 4)
    assert third.values == TRUE
