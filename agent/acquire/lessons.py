"""Drained samples of all buses in, what is to be asked of devices, and the plans that follow from it, out; pure."""

from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from agent._native.samples import Samples
from agent.acquire.learn import Asking, Learner
from agent.acquire.limits import NOTHING, Learned
from agent.acquire.merge import Wanted
from agent.acquire.outcomes import outcomes
from agent.acquire.pdu import Ask
from agent.acquire.plan import BusPlan, DeviceKey, Plan, device_reads, pack
from agent.config.model import Bus, Device

Steps: TypeAlias = Generator[Ask, bytes, None]


class Lessons:
    """What all devices teach while `plan` runs, which was compiled with what is `known` of them."""

    def __init__(
        self, buses: Sequence[Bus], plan: Plan, known: Mapping[DeviceKey, Learned], hidden: Container[DeviceKey] = ()
    ) -> None:
        """`hidden`: devices of whose models nothing is read before place() says where they are."""
        self._buses = list(buses)
        self._plan = plan
        self._learners = [
            _learners(bus, part, plan, known, hidden) for bus, part in zip(buses, plan.buses, strict=True)
        ]
        self._owners = self._all_owners()
        self._watched = self._all_watched()
        self._changed: set[int] = set()

    def place(self, line: int, bus: Bus, known: Mapping[DeviceKey, Learned], hidden: Container[DeviceKey]) -> None:
        """Models of a bus were found or lost. Units with others to be read are learned anew, the others go on."""
        self._buses[line] = bus
        before = self._learners[line]
        after = _learners(bus, self._plan.buses[line], self._plan, known, hidden)
        self._learners[line] = [
            old if old.wanted == new.wanted else new for old, new in zip(before, after, strict=True)
        ]
        self._owners = self._all_owners()
        self._watched = self._all_watched()

    def observe(self, samples: Samples, start: int = 0) -> None:
        """Learn from samples[start:]."""
        seen = False
        for outcome in outcomes(samples, start, self._watched):
            seen = True
            line, learner = self._owners.get(min(outcome.tags), (0, None))  # None: still of the plan before
            if learner and learner.observe(outcome):
                self._changed.add(line)
        if seen:
            self._watched = self._all_watched()

    def asks(self, now_ns: int) -> Iterator[tuple[int, Steps]]:
        """What is to be asked between the polls of which bus, as tickets."""
        for line, learners in enumerate(self._learners):
            for learner in learners:
                steps = learner.asks(now_ns)
                if steps is not None:
                    yield line, self._noted(line, steps)

    def take_changed(self) -> set[int]:
        """The places of the buses whose plans are others since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def plan_of(self, line: int) -> BusPlan:
        """The plan that the bus is to run now."""
        return pack(self._buses[line], [learner.reads for learner in self._learners[line]], self._plan.groups)

    def learned(self) -> Iterator[tuple[DeviceKey, Learned]]:
        """What is known now, by the device that has the unit."""
        for bus, learners in zip(self._buses, self._learners, strict=True):
            for (device, *_), learner in zip(bus.units, learners, strict=True):
                yield DeviceKey(bus.name, device.name), learner.learned

    def _noted(self, line: int, steps: Asking) -> Steps:
        if (yield from steps):
            self._changed.add(line)
            self._watched = self._all_watched()

    def _all_owners(self) -> dict[int, tuple[int, Learner]]:
        return {
            item.number: (line, learner)
            for line, learners in enumerate(self._learners)
            for learner in learners
            for item in learner.wanted
        }

    def _all_watched(self) -> frozenset[int]:
        return frozenset(tag for learners in self._learners for learner in learners for tag in learner.watched())


def _learners(
    bus: Bus, part: BusPlan, plan: Plan, known: Mapping[DeviceKey, Learned], hidden: Container[DeviceKey]
) -> list[Learner]:
    riders = {tag.number for tag in plan.tags if tag.read_ns < tag.every_ns}  # the filter thins no others
    learners = []
    for unit, reads in zip(bus.units, part.reads, strict=True):
        planned = sorted((item for block in reads for item in block.wanted), key=lambda item: item.number)
        asked = _asked(bus, unit, planned, hidden)
        replan = partial(device_reads, bus, unit[0], asked, riders=riders)
        learned = known.get(DeviceKey(bus.name, unit[0].name), NOTHING)
        learners.append(Learner(unit[0].unit, reads if asked == planned else replan(learned), learned, replan))
    return learners


def _asked(bus: Bus, unit: Sequence[Device], planned: Sequence[Wanted], hidden: Container[DeviceKey]) -> list[Wanted]:
    """The tags as they lie now, without those of which nobody knows where they are."""
    tags = {(device.name, tag.name): tag for device in unit for tag in device.tags}
    placed = [item._replace(tag=tags[item.device, item.tag.name]) for item in planned]
    return [item for item in placed if not (item.tag.moves and DeviceKey(bus.name, item.device) in hidden)]
