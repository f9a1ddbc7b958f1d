"""Drained samples of all buses in, the plans of those whose devices have taught something out; pure."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from agent._native.samples import Samples
from agent.acquire.learn import Learner
from agent.acquire.limits import NOTHING, Learned
from agent.acquire.outcomes import outcomes
from agent.acquire.plan import BusPlan, DeviceKey, Plan, device_reads, pack
from agent.config.model import Bus


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

    def observe(self, samples: Samples, start: int = 0) -> set[int]:
        """Learn from samples[start:]; the places of the buses whose plans are others now."""
        changed = set()
        seen = False
        for outcome in outcomes(samples, start, self._watched):
            seen = True
            line, learner = self._owners.get(min(outcome.tags), (0, None))  # None: still of the plan before
            if learner and learner.observe(outcome):
                changed.add(line)
        if seen:
            self._watched = self._all_watched()
        return changed

    def plan_of(self, line: int) -> BusPlan:
        """The plan that the bus is to run now."""
        return pack(self._buses[line], [learner.reads for learner in self._learners[line]], self._plan.groups)

    def learned(self) -> Iterator[tuple[DeviceKey, Learned]]:
        """What is known now, by the device that has the unit."""
        for bus, learners in zip(self._buses, self._learners, strict=True):
            for (device, *_), learner in zip(bus.units, learners, strict=True):
                yield DeviceKey(bus.name, device.name), learner.learned

    def _all_watched(self) -> frozenset[int]:
        return frozenset(tag for learners in self._learners for learner in learners for tag in learner.watched())


def _learners(bus: Bus, part: BusPlan, plan: Plan, known: Mapping[DeviceKey, Learned]) -> list[Learner]:
    riders = {tag.number for tag in plan.tags if tag.read_ns < tag.every_ns}  # the filter thins no others
    learners = []
    for (device, *_), reads in zip(bus.units, part.reads, strict=True):
        wanted = sorted((item for block in reads for item in block.wanted), key=lambda item: item.number)
        replan = partial(device_reads, bus, device, wanted, riders=riders)
        learners.append(Learner(reads, known.get(DeviceKey(bus.name, device.name), NOTHING), replan))
    return learners
