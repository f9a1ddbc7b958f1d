"""What is believed of devices, in virtual time: nothing that was a bad moment, or is no longer so, stays."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from learning import APART, TEN, Mind, World, gone, registers

from agent.acquire.limits import NOTHING, Learned, Seam
from agent.config.model import Device, Hole, Table, Tag
from agent.model import NS_PER_MS, NS_PER_S


class Disturbed(Mind):
    """Refuses what it could answer, at random, as a share of what it is asked."""

    def often(self, share: float, seed: int) -> "Disturbed":
        self.share, self.chance = share, random.Random(seed)
        return self

    def answer(self, table: Table, address: int, quantity: int) -> int | None:
        if self.chance.random() < self.share:
            return self.chance.choice((2, 3))
        return super().answer(table, address, quantity)


MISSING_13 = Learned(missing=frozenset({Hole(Table.HOLDING, 13, 13)}), strict=True)
TRUTHS: dict[str, tuple[list[Tag], dict[str, Any], Learned]] = {
    "nothing": (registers(*range(60)), {}, NOTHING),
    "two rates": ([*TEN, *registers(*range(20, 60), every_ns=2 * NS_PER_S)], {}, NOTHING),
    "a hole": (APART, {"missing": gone(16)}, Learned(holes=frozenset({Hole(Table.HOLDING, 15, 17)}))),
    "a tag": (TEN, {"missing": gone(13)}, MISSING_13),
    "a limit": (registers(*range(100)), {"most": 30}, Learned(max_registers=30)),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [0.1, 0.4])
@pytest.mark.parametrize("case", TRUTHS)
def test_of_exceptions_at_random_nothing_false_stays(
    world: Callable[..., World], case: str, share: float, seed: int
) -> None:
    tags, truth, learned = TRUTHS[case]
    of = world(tags, Disturbed(**truth).often(share, seed))
    of.run(1200)
    of.minds[1] = Mind(**truth)
    of.run(2500)
    assert of.learned == learned
    assert of.good() == {at for at, tag in enumerate(tags) if (tag.table, tag.address) not in of.minds[1].missing}


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_exceptions_at_random_cost_little_more_than_the_polls_they_spoil(
    world: Callable[..., World], share: float
) -> None:
    of = world(registers(*range(60)), Disturbed().often(share, 1))
    of.run(20)
    asked, plans = len(of.requests), of.plans
    of.run(3600)
    assert of.plans == plans, "what was answered can be answered"
    assert len(of.requests) - asked == pytest.approx(3600, abs=20)
    assert of.learned == NOTHING


FALSE = Learned(
    max_registers=7,
    holes=frozenset({Hole(Table.HOLDING, 15, 17)}),
    seams=frozenset({Seam(Table.HOLDING, 20)}),
    missing=frozenset({Hole(Table.HOLDING, 12, 12)}),
    strict=True,
)


def test_what_was_remembered_and_is_not_so_is_found_out_within_minutes(world: Callable[..., World]) -> None:
    of = world(APART, Mind(), FALSE)
    of.run(50)
    assert of.learned == FALSE._replace(missing=frozenset(), strict=False), "the tag is polled once a minute"
    of.run(660)
    assert of.learned == NOTHING
    assert of.reads() == world(APART, Mind()).reads()


def test_what_a_device_can_do_after_an_update_is_found_out(world: Callable[..., World]) -> None:
    of = world(registers(*range(100)), Mind(most=30))
    of.run(300)
    assert of.learned == Learned(max_registers=30)
    of.minds[1] = Mind(most=60)
    of.run(1200)
    assert of.learned == Learned(max_registers=60)


def test_what_is_still_refused_is_asked_for_ever_more_rarely(world: Callable[..., World]) -> None:
    of = world(APART, Mind(gone(16)))
    minutes = []
    for minute in range(60):
        before = of.refused
        of.run(60)
        minutes += [minute] if of.refused > before else []
    assert minutes == [0, 2, 12, 32]  # the search and two looks, then one each
    assert of.learned.holes


def test_a_device_that_is_another_one_now_is_learned_anew(world: Callable[..., World]) -> None:
    of = world(TEN, Mind())
    of.run(30)
    of.minds[1] = Mind(gone(13))
    of.run(30)
    assert of.learned == MISSING_13
    assert of.good() == set(range(10)) - {3}


def test_ninety_tags_of_a_device_with_a_limit_holes_and_missing_tags_are_read_within_seconds(
    world: Callable[..., World], make_device: Callable[..., Device]
) -> None:
    tags = registers(*range(40), *range(50, 80), *range(100, 121))
    neighbour = make_device(registers(1, every_ns=100 * NS_PER_MS), name="e", unit=2)
    of = world(tags, Mind(gone(45, 90, 10, 70), most=30), devices=(neighbour,), minds={2: Mind()})
    of.run(6)
    assert of.good() >= set(range(91)) - {10, 60}
    assert sum(unit == 1 for unit, *_ in of.requests) < 200, "no flood"
    assert sum(unit == 2 for unit, *_ in of.requests) >= 55, "its neighbour goes on"
