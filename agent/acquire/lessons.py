"""Drained samples of all buses in, what is to be asked of devices, and the plans that follow from it, out; pure."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from agent._native.samples import Samples
from agent.acquire.learn import Asking, Learner
from agent.acquire.limits import NOTHING, Learned
from agent.acquire.outcomes import outcomes
from agent.acquire.pdu import Ask
from agent.acquire.plan import BusPlan, DeviceKey, Plan, device_reads, pack
from agent.config.model import Bus

Steps: TypeAlias = Generator[Ask, bytes, None]


class Lessons:
    """What all devices teach while `plan` runs, which was compiled with what is `known` of them."""

    def __init__(self, buses: Sequence[Bus], plan: Plan, known: Mapping[DeviceKey, Learned]) -> None:
        self._buses = tuple(buses)
        self._plan = plan
        self._learners = [_learners(bus, part, plan, known) for bus, part in zip(buses, plan.buses, strict=True)]
        self._owners = {
            item.number: (line, learner)
            for line, learners in enumerate(self._learners)
            for learner in learners
            for block in learner.reads
            for item in block.wanted
        }
        self._watched = self._all_watched()
        self._changed: set[int] = set()

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
                    yield line, self._asked(line, steps)

    def take_changed(self) -> set[int]:
        """The places of the buses whose plans are others since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def plan_of(self, line: int) -> BusPlan:
        """The plan that the bus is to run now."""
        return pack(self._buses[line], [learner.reads for learner in self._learners[line]], self._plan.groups)

    def learned(self) -> Iterator[tuple[DeviceKey, Learned]]:
        """What is known now, device by device."""
        for bus, learners in zip(self._buses, self._learners, strict=True):
            for device, learner in zip(bus.devices, learners, strict=True):
                yield DeviceKey(bus.name, device.name), learner.learned

    def _asked(self, line: int, steps: Asking) -> Steps:
        if (yield from steps):
            self._changed.add(line)
            self._watched = self._all_watched()

    def _all_watched(self) -> frozenset[int]:
        return frozenset(tag for learners in self._learners for learner in learners for tag in learner.watched())


def _learners(bus: Bus, part: BusPlan, plan: Plan, known: Mapping[DeviceKey, Learned]) -> list[Learner]:
    riders = {tag.number for tag in plan.tags if tag.read_ns < tag.every_ns}  # the filter thins no others
    learners = []
    for device, reads in zip(bus.devices, part.reads, strict=True):
        wanted = sorted((item for block in reads for item in block.wanted), key=lambda item: item.number)
        replan = partial(device_reads, bus, device, wanted, riders=riders)
        learned = known.get(DeviceKey(bus.name, device.name), NOTHING)
        learners.append(Learner(device.unit, reads, learned, replan))
    return learners
