"""A new plan for a TCP link that runs: what is under way goes on, what is known of devices and polls is kept."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_errands import MANY, WRITE, ErrandRig, write
from links import COMM_FAIL, EXCEPTION, GOOD, MS, LinkRig, Poll, Request, S, after, answer_to, frame, plan_of, silent

QUICK = after(5 * MS)
SLOW = after(50 * MS)


def asked(rig: LinkRig) -> list[tuple[int, int]]:
    """When, and for which address."""
    return [(request.at // MS, request.address) for request in rig.sent]


def ended(rig: LinkRig) -> int:
    return sum(rig.counts[name] for name in ("ok", "exceptions", "timeouts"))


# --- requests under way ---


def test_a_poll_that_stays_is_not_asked_again_while_its_answer_is_awaited_and_the_answer_counts() -> None:
    rig = LinkRig([Poll()], SLOW).run(10 * MS)
    rig.adopt([Poll(address=500, period=S, phase=30 * MS), Poll()])
    rig.run(90 * MS)
    assert asked(rig) == [(0, 0), (50, 500)]  # the first of a connection goes alone
    rig.run(105 * MS)
    assert [sample.tag for sample in rig.good()] == [1000, 1001, 1500, 1501]
    rig.run(190 * MS)
    assert asked(rig)[2:] == [(100, 0)]
    assert (rig.counts["ok"], rig.counts["stale_discarded"], rig.counts["timeouts"]) == (3, 0, 0)


def test_an_answer_to_a_poll_that_is_gone_is_that_polls() -> None:
    rig = LinkRig([Poll(unit=2, quantity=4)], SLOW).run(10 * MS)
    rig.adopt([Poll(unit=2, address=500, phase=S)])
    rig.run(900 * MS)
    assert [sample.tag for sample in rig.good()] == [2000, 2001, 2002, 2003]
    assert rig.wrong == []
    assert rig.device_counts(0)["ok"] == rig.counts["ok"] == 1


def test_the_parts_of_a_poll_that_is_cut_are_due_when_it_would_have_been_again() -> None:
    rig = LinkRig([Poll(quantity=4)], SLOW).run(110 * MS)
    rig.adopt([Poll(quantity=2), Poll(address=2, quantity=2, phase=500 * MS)])
    rig.run(290 * MS)
    assert asked(rig) == [(0, 0), (100, 0), (200, 0), (200, 2)]
    assert rig.counts["ok"] == 4


def test_a_quick_part_of_a_slow_poll_waits_for_no_longer_than_its_own_period() -> None:
    rig = LinkRig([Poll(quantity=4, period=10 * S)], SLOW).run(10 * MS)
    rig.adopt([Poll(quantity=2, period=100 * MS)])
    rig.run(200 * MS)
    assert asked(rig) == [(0, 0), (110, 0)]


def test_a_new_plan_does_not_wait_for_a_unit_that_does_not_answer() -> None:
    polls = [Poll(phase=20 * MS), Poll(unit=2, timeout=10 * S, phase=30 * MS)]
    rig = LinkRig(polls, lambda request: QUICK(request) if request.unit == 1 else [])
    rig.run(S)
    rig.adopt([Poll(address=300), Poll(unit=2, timeout=10 * S)])
    rig.run(2 * S)
    assert [at for at, address in asked(rig) if address == 300] == [*range(1000, 2000, 100)]
    rig.run(10 * S + 31 * MS)
    assert rig.counts["timeouts"] == rig.device_counts(1)["timeouts"] == 1
    assert [sample.tag for sample in rig.samples if sample.quality == COMM_FAIL] == [2000, 2001]


def test_an_exception_puts_the_poll_off_that_takes_its_place() -> None:
    busy = [True]
    rig = LinkRig(
        [Poll()], lambda request: [(50 * MS, frame(request.transaction, 1, b"\x83\x06"))] if busy else QUICK(request)
    )
    rig.run(10 * MS)
    rig.adopt([Poll(address=90, phase=S), Poll()])
    rig.run(55 * MS)
    busy.clear()
    rig.run(400 * MS)
    assert [sample.quality for sample in rig.samples[:2]] == [EXCEPTION] * 2
    assert asked(rig) == [(0, 0), (150, 0), (200, 0), (300, 0)]


def test_answers_find_their_device_wherever_its_new_place_is() -> None:
    rig = LinkRig([Poll(unit=2), Poll(unit=3)], SLOW, in_flight=2).run(60 * MS)
    assert rig.link.under_way() == 1
    rig.run(110 * MS)
    assert rig.link.under_way() == 2
    rig.adopt([Poll(unit=1, phase=S), Poll(unit=2, phase=S), Poll(unit=3, phase=S)])
    rig.run(160 * MS)
    assert [rig.device_counts(device)["ok"] for device in range(3)] == [0, 2, 2]
    assert [sum(each[0]) for each in rig.link.statistics()[1]] == [0, 2, 2]


def test_what_comes_for_a_unit_that_is_in_no_plan_any_more_counts_for_the_link_alone() -> None:
    rig = LinkRig([Poll(unit=2), Poll(unit=3)], SLOW, in_flight=2).run(60 * MS)
    rig.adopt([Poll(unit=1, phase=S)])
    rig.run(900 * MS)
    assert rig.counts["ok"] == 2
    assert not any(rig.device_counts(0)[name] for name in ("ok", "timeouts", "bytes_heard"))
    assert [sample.quality for sample in rig.samples] == [GOOD] * 4


@pytest.mark.parametrize("units", [(1,), (2,)])
def test_what_does_not_come_for_it_fails_as_ever(units: tuple[int, ...]) -> None:
    rig = LinkRig([Poll(unit=1)], silent).run(10 * MS)
    rig.adopt([Poll(unit=unit, address=500, phase=10 * S) for unit in units])
    rig.run(S)
    assert rig.counts["timeouts"] == 1
    assert [(sample.tag, sample.quality) for sample in rig.samples] == [(1000, COMM_FAIL), (1001, COMM_FAIL)]
    assert rig.device_counts(0)["timeouts"] == (1 in units)


def test_a_connection_that_is_lost_takes_requests_of_both_plans_with_it() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(S + MS)
    rig.adopt([Poll(address=900), Poll(unit=2)])
    rig.run(S + 2 * MS)
    under_way = rig.link.under_way()
    rig.reconnect()
    assert rig.counts["timeouts"] == under_way == 16
    rig.run(2 * S)
    assert rig.good()[-1].tag in {1900, 1901, 2000, 2001}
    assert ended(rig) + rig.link.under_way() == rig.counts["transactions"]


def test_a_late_answer_counts_for_its_device_in_the_new_plan() -> None:
    late = [(350 * MS, 1)]
    rig = LinkRig([Poll(unit=2)], lambda request: [(late.pop()[0], answer_to(request))] if late else []).run(310 * MS)
    rig.adopt([Poll(unit=1, phase=S), Poll(unit=2, phase=S)])
    rig.run(500 * MS)
    assert [rig.device_counts(device)["stale_discarded"] for device in (0, 1)] == [0, 1]


def test_noise_counts_for_the_device_that_was_asked_last_wherever_it_is_now() -> None:
    rig = LinkRig([Poll(unit=2, period=S)], QUICK).run(100 * MS)
    rig.adopt([Poll(unit=1, phase=S), Poll(unit=2, period=S)])
    rig.put(rig.now, b"\xff" * 20)
    rig.run(200 * MS)
    assert [rig.device_counts(device)["noise_bytes"] > 0 for device in (0, 1)] == [False, True]


def test_a_write_under_way_is_no_matter_of_plans() -> None:
    rig = ErrandRig([Poll(unit=2)]).run(1050 * MS)
    became = rig.offer(write(unit=1))
    rig.run(rig.now + 2 * MS)
    rig.adopt([Poll(unit=2), Poll(unit=1, phase=S)])
    rig.run(1200 * MS)
    assert [done.end for done in became] == ["answered"]
    assert len(rig.sent_of(WRITE)) == rig.device_counts(0)["ok"] == 1


# --- whatever changes ---


TIMEOUT = 200 * MS


def some_plan(chance: random.Random) -> list[Poll]:
    polls = [
        Poll(unit, (20, 50, 100)[at % 3] * MS, 20 * at, chance.choice((2, 4)), timeout=TIMEOUT)
        for unit in (1, 2, 3)
        for at in range(6)
    ]
    return chance.sample(polls, chance.randrange(1, len(polls)))


class Lossy:
    """Devices that take their time, and now and then for ever; notes what it is asked twice at once."""

    def __init__(self, chance: random.Random, loss: float) -> None:
        self.chance = chance
        self.loss = loss
        self.twice: list[Request] = []
        self._until: dict[tuple[int, int, int], int] = {}

    def __call__(self, request: Request) -> list[tuple[int, bytes]]:
        poll = request.unit, request.address, request.quantity
        if request.at < self._until.get(poll, 0):
            self.twice.append(request)
        is_lost = self.chance.random() < self.loss
        takes = TIMEOUT if is_lost else self.chance.randrange(1, 60) * MS
        self._until[poll] = request.at + takes
        return [] if is_lost else [(takes, answer_to(request))]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), in_flight=st.sampled_from((1, 2, 4, 16)), loss=st.sampled_from((0, 0.1)))
def test_every_request_has_one_end_and_no_poll_is_asked_twice_at_once(seed: int, in_flight: int, loss: float) -> None:
    chance = random.Random(seed)
    devices = Lossy(chance, loss)
    rig = LinkRig(some_plan(chance), devices, in_flight=in_flight)
    for _ in range(60):
        rig.run(rig.now + chance.randrange(1, 70) * MS)
        rig.adopt(some_plan(chance))
    rig.adopt([Poll(unit=9, phase=1000 * S)])
    rig.run(rig.now + S)
    assert rig.link.under_way() == 0
    assert len(rig.sent) == rig.counts["transactions"] == ended(rig)
    assert rig.counts["stale_discarded"] == rig.counts["exceptions"] == 0
    assert rig.counts["timeouts"] == 0 or loss > 0
    assert devices.twice == []


def test_plans_that_change_in_every_millisecond_cost_nothing() -> None:
    rig = LinkRig(MANY, after(7 * MS), in_flight=16).run(S)
    polled = rig.counts["transactions"]
    for number in range(1000):
        rig.adopt([Poll(unit=2, address=number, phase=10 * S), *MANY])
        rig.run(rig.now + MS)
    assert rig.counts["ok"] - polled == pytest.approx(160, abs=16)
    assert rig.counts["timeouts"] == rig.counts["stale_discarded"] == rig.counts["overruns"] == 0
    assert rig.wrong == []


# --- what is known ---


def test_counters_and_the_phase_of_polls_that_stay_outlive_the_plan() -> None:
    stays = Poll(period=100 * MS, phase=30 * MS)
    rig = LinkRig([stays], QUICK)
    for number in range(20):
        rig.run(rig.now + 70 * MS)
        rig.adopt([Poll(unit=2, period=10 * S, phase=9 * S, address=number), stays])
    times = [request.at for request in rig.sent]
    assert times == [30 * MS + k * 100 * MS for k in range(len(times))]
    assert rig.link.counters()[1][0] == rig.link.counters()[0]


def test_how_long_devices_take_is_known_to_the_next_plan() -> None:
    rig = LinkRig([Poll(unit=1), Poll(unit=2, timeout=S)], QUICK, in_flight=1).run(30 * S)
    rig.adopt([Poll(unit=1, address=90), Poll(unit=2, address=90, timeout=S)])
    rig.answer = lambda request: QUICK(request) if request.unit == 1 else []
    rig.run(31 * S)
    assert len([request for request in rig.sent if request.unit == 1 and request.at >= 30 * S]) == 10


def test_a_first_plan_starts_at_its_phases() -> None:
    rig = LinkRig([Poll(phase=40 * MS), Poll(unit=2, phase=70 * MS)], QUICK).run(100 * MS)
    assert [at for at, _ in asked(rig)] == [40, 70]


def test_the_rest_of_a_plan_may_be_nothing() -> None:
    rig = LinkRig(MANY, SLOW, in_flight=16).run(60 * MS)
    rig.link.adopt(*plan_of([]), now=rig.now)
    rig.wake = rig.now
    rig.run(S)
    assert rig.counts["ok"] == rig.counts["transactions"] == 16
