from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent._native.parts import Wishes

US = 1_000
MS = 1_000_000
S = 1_000_000_000
QUIET = 1_750 * US
SLACK = QUIET // 16
TOLERANCE = 30 * US
NEVER = 2**63 - 1


class Run(NamedTuple):
    wakes: list[int]  # when
    requests: list[int]  # of each bus


def saturated(answers: list[int], starts: list[int], until: int) -> Run:
    """Buses that always have a request to send: it is answered after answers[i], then t3.5 is kept."""
    wishes = Wishes(len(answers))
    waits_for_answer = [False] * len(answers)
    requests = [0] * len(answers)
    wakes = []
    for bus, start in enumerate(starts):
        wishes.make(bus, start, SLACK, send=start, patient=True)
    while (now := wishes.wake()) < until:
        wakes.append(now)
        for bus, answer in enumerate(answers):
            if not wishes.due(bus, now):
                continue
            if waits_for_answer[bus]:
                wishes.make(bus, now + QUIET, SLACK, send=now + QUIET, patient=True)
            else:
                requests[bus] += 1
                wishes.sent(bus, now)
                wishes.make(bus, now + answer, TOLERANCE, send=now + answer + QUIET)
            waits_for_answer[bus] = not waits_for_answer[bus]
    return Run(wakes, requests)


@settings(max_examples=100)
@example([0, 2_593_540, 10_000_001])  # 0 and 2 must not part, each to join 1
@given(st.lists(st.integers(0, 15 * MS), min_size=2, max_size=8))
def test_buses_alike_come_into_step_wherever_they_start(starts):
    run = saturated([13 * MS] * len(starts), starts, 30 * S)
    in_step = 2 * 10 * S / (13 * MS + QUIET)  # a wake-up for the requests, one for the answers
    assert sum(at >= 20 * S for at in run.wakes) < 1.05 * in_step


@settings(max_examples=30)
@given(st.lists(st.integers(3 * MS, 300 * MS), min_size=2, max_size=8))
def test_no_bus_loses_more_than_four_percent_of_its_rate_for_company(answers):
    run = saturated(answers, [0] * len(answers), 30 * S)
    for answer, requests in zip(answers, run.requests, strict=True):
        assert requests >= 0.96 * (30 * S - 10 * MS) / (answer + QUIET) - 1


def test_a_bus_alone_never_waits():
    run = saturated([5 * MS], [0], 10 * S)
    assert run.requests == [-(-10 * S // (5 * MS + QUIET))]


def test_a_wake_up_comes_as_late_as_all_are_content_with_and_serves_those_that_are_due_by_then():
    wishes = Wishes(3)
    wishes.make(0, 1000, slack=500)
    wishes.make(1, 1400)
    wishes.make(2, 1600)
    assert wishes.wake() == 1400
    assert [wishes.due(bus, 1400) for bus in range(3)] == [True, True, False]


def test_a_request_on_time_waits_for_nobody():
    wishes = Wishes(2)
    wishes.make(0, 1 * MS, send=1 * MS, patient=False)
    wishes.make(1, 2 * MS, send=2 * MS, patient=True)
    assert wishes.due(0, 1 * MS)


def test_what_was_saved_up_is_spent_once():
    wishes = Wishes(2)
    wishes.make(1, 19 * MS, send=19 * MS)
    wishes.make(0, 10 * MS, send=10 * MS, patient=True)
    assert not wishes.due(0, 10 * MS)
    assert wishes.due(0, 19 * MS)
    wishes.make(1, 28 * MS, send=28 * MS)
    wishes.make(0, 19 * MS, send=19 * MS, patient=True)
    assert wishes.due(0, 19 * MS)  # 1 ms of 10 is left


def test_buses_that_are_together_leave_only_together():
    wishes = Wishes(3)
    for bus in (0, 1):
        wishes.make(bus, 10 * MS, send=10 * MS, patient=True)
    wishes.make(2, 15 * MS, send=15 * MS)
    assert [wishes.due(bus, 10 * MS) for bus in (0, 1)] == [False, False]
    assert [wishes.due(bus, 15 * MS) for bus in (0, 1)] == [True, True]
    wishes.sent(0, 15 * MS)
    wishes.make(1, 15 * MS, send=15 * MS, patient=True)
    wishes.make(2, 18 * MS, send=18 * MS)
    assert wishes.due(1, 15 * MS)  # its company has just sent


def test_without_wishes_there_is_no_wake_up():
    assert Wishes(4).wake() == NEVER


def test_a_bus_that_is_not_there_is_named():
    with pytest.raises(IndexError, match="bus 2 of 2"):
        Wishes(2).due(2, 0)
