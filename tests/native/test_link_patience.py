"""A request keeps its place on a TCP link as long as its device usually takes; its answer is taken for longer."""

import random
from collections.abc import Callable

import bus_rig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_errands import WRITE, ErrandRig, reply, write
from links import MS, Answer, LinkRig, OneLine, Poll, Request, S, after, answer_to, frame, silent

QUICK = after(5 * MS)
LEARNED = 30 * S  # enough answers of every device
BOTH = [Poll(unit=unit, timeout=S) for unit in (1, 2)]


def only(*units: int) -> Answer:
    return lambda request: QUICK(request) if request.unit in units else []


def sent_to(rig: LinkRig, unit: int, begin: int) -> list[int]:
    return [request.at for request in rig.sent if request.unit == unit and request.at >= begin]


def most_since(rig: LinkRig, until: int) -> int:
    """Requests that were under way at once from now on."""
    rig.most_under_way = 0
    return rig.run(until).most_under_way


# --- neighbours ---


@pytest.mark.parametrize(("patience", "kept"), [(0, 0.97), (100 * MS, 0.9), (500 * MS, 0.65)])
def test_a_unit_that_dies_costs_its_neighbour_what_the_gateway_waits_for_it_and_not_the_timeout(
    patience: int, kept: float
) -> None:
    dead: list[int] = []
    gateway = OneLine(lambda request: None if request.unit in dead else 5 * MS, patience)
    rig = LinkRig(BOTH, gateway, in_flight=1).run(LEARNED)
    before = rig.device_counts(0)["ok"]
    dead.append(2)
    rig.run(LEARNED + 4 * S)  # until it is a suspect
    assert rig.device_counts(1)["timeouts"] == 3
    assert rig.device_counts(0)["ok"] - before >= kept * 40
    assert rig.device_counts(0)["timeouts"] == rig.stalls == 0


def test_units_that_die_one_after_the_other_cost_it_no_more_where_the_gateway_goes_on_meanwhile() -> None:
    polls = [Poll(1, 50 * MS), *[Poll(unit, phase=phase * MS, timeout=S) for unit, phase in ((2, 10), (3, 60))]]
    rig = LinkRig(polls, QUICK, in_flight=1).run(LEARNED)
    rig.answer = only(1)
    rig.run(LEARNED + S)
    assert len(sent_to(rig, 1, LEARNED)) == 20
    assert [len(sent_to(rig, unit, LEARNED)) for unit in (2, 3)] == [1, 1]


def test_a_unit_that_has_never_answered_keeps_its_place_until_its_timeout_is_over() -> None:
    rig = LinkRig([Poll(unit=1), Poll(unit=2, timeout=S, phase=50 * MS)], only(1), in_flight=1).run(4 * S)
    assert rig.most_under_way == 1


def test_while_a_request_is_overdue_its_unit_is_asked_for_nothing_else() -> None:
    rig = LinkRig([Poll(unit=1), *[Poll(unit=2, address=10 * at, timeout=S) for at in range(3)]], QUICK, in_flight=2)
    rig.run(LEARNED)
    rig.answer = only(1)
    rig.run(LEARNED + S - MS)
    assert sent_to(rig, 2, LEARNED) == [LEARNED, LEARNED + 5 * MS]  # before it was overdue
    assert len(sent_to(rig, 1, LEARNED)) == 10


@pytest.mark.parametrize("takes", [5 * MS, 60 * MS])  # before the lost one is overdue, and after
def test_where_a_unit_answers_what_was_asked_later_it_is_asked_on(takes: int) -> None:
    polls = [Poll(address=10 * at, timeout=S) for at in range(4)]
    rig = LinkRig(polls, QUICK, in_flight=4).run(LEARNED)
    rig.answer = lambda request: after(takes)(request) if request.address else []
    rig.run(LEARNED + S)
    assert len(sent_to(rig, 1, LEARNED)) == 1 + 3 * 10


def test_a_device_that_forgets_one_request_is_not_asked_for_more_in_its_place() -> None:
    polls = [Poll(address=10 * at, timeout=S) for at in range(8)]
    rig = LinkRig(polls, QUICK, in_flight=2).run(LEARNED)
    rig.answer = lambda request: QUICK(request) if request.address else []
    assert most_since(rig, LEARNED + S - MS) == 2


def test_a_write_does_not_go_beside_an_overdue_request() -> None:
    rig = ErrandRig(BOTH, in_flight=1).run(LEARNED)
    rig.answer = only(1)
    rig.run(LEARNED + 102 * MS)
    assert rig.most_under_way == 2  # reads do
    rig.answer = QUICK
    [became] = [rig.offer(write(unit=3), timeout=50 * MS)]
    rig.run(LEARNED + 2 * S)
    assert became
    [written] = rig.sent_of(WRITE)
    assert written.at == LEARNED + S + 5 * MS  # the read that ended the silence comes first


def test_a_write_that_takes_longer_than_reads_is_not_overdue_and_holds_up_no_read() -> None:
    rig = ErrandRig(BOTH, lambda request: [(500 * MS if request.function == WRITE else 5 * MS, reply(request))])
    rig.run(LEARNED)
    rig.offer(write(unit=1), timeout=S)
    rig.run(LEARNED + 500 * MS)
    assert len(sent_to(rig, 1, LEARNED)) == 1 + 5


# --- devices that become slower ---


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("slow", [60 * MS, 400 * MS, 900 * MS])
def test_a_device_that_suddenly_answers_slower_loses_nothing(slow: int, in_flight: int) -> None:
    takes = 5 * MS
    rig = LinkRig(BOTH, OneLine(lambda request: takes if request.unit == 2 else 5 * MS), in_flight=in_flight)
    rig.run(LEARNED)
    takes = slow
    rig.run(2 * LEARNED)
    assert rig.counts["timeouts"] == rig.counts["stale_discarded"] == rig.counts["probes"] == 0
    assert rig.device_counts(1)["ok"] >= 300 + LEARNED // max(100 * MS, slow + 100 * MS)


def heavy_tailed(chance: random.Random) -> int:
    """A few ms, seldom some hundred."""
    return int(min(2 * MS * chance.paretovariate(0.9), 900 * MS))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), in_flight=st.sampled_from((1, 2, 4, 16)))
def test_no_answer_that_comes_within_the_timeout_is_refused_though_a_line_would_refuse_some(
    seed: int, in_flight: int
) -> None:
    chance = random.Random(seed)
    polls = [Poll(unit=1 + at % 4, address=10 * at, timeout=S) for at in range(12)]
    rig = LinkRig(polls, lambda request: [(heavy_tailed(chance), answer_to(request))], in_flight=in_flight).run(60 * S)
    assert rig.counts["timeouts"] == rig.counts["stale_discarded"] == 0
    assert rig.counts["ok"] >= len(rig.sent) - 16 > 1000
    assert rig.wrong == []


def test_a_line_would_refuse_some() -> None:
    chance = random.Random(1)
    late = bus_rig.Rig(
        [bus_rig.Poll(timeout=S)],
        lambda request, _: bus_rig.paced(bus_rig.answer_to(request), heavy_tailed(chance)),
        ring_bits=14,
    ).run(300 * S)
    assert late.counts["stale_discarded"] > 0


def test_an_answer_later_than_the_timeout_teaches_how_slow_its_device_is() -> None:
    rig = LinkRig(BOTH, QUICK, in_flight=1).run(LEARNED)
    rig.answer = lambda request: [((1200 if request.unit == 2 else 5) * MS, answer_to(request))]
    rig.run(LEARNED + 50 * MS)
    rig.answer = QUICK
    rig.run(LEARNED + 5 * S)
    assert (rig.device_counts(0)["stale_discarded"], rig.device_counts(1)["stale_discarded"]) == (0, 1)
    rig.answer = only(1)
    assert most_since(rig, LEARNED + 6 * S) == 1


def test_a_copy_of_a_late_answer_teaches_nothing() -> None:
    rig = LinkRig([Poll(unit=unit, timeout=100 * MS) for unit in (1, 2)], QUICK, in_flight=1).run(LEARNED)
    rig.answer = lambda request: [
        (at, answer_to(request)) for at in ((120 * MS, 9 * S) if request.unit == 2 else (MS,))
    ]
    rig.run(LEARNED + 50 * MS)
    rig.answer = QUICK
    rig.run(LEARNED + 500 * S)  # the slowest answer is forgotten slowly
    assert rig.device_counts(1)["stale_discarded"] == 2
    rig.answer = only(1)
    assert most_since(rig, LEARNED + 501 * S) == 2


def test_how_late_the_answer_to_a_write_is_teaches_nothing() -> None:
    rig = ErrandRig(
        BOTH, lambda request: [(900 * MS if request.function == WRITE else 5 * MS, reply(request))], in_flight=1
    )
    rig.run(LEARNED)
    rig.offer(write(unit=2), timeout=100 * MS)
    rig.run(LEARNED + 2 * S)
    assert rig.device_counts(1)["stale_discarded"] == 1
    rig.answer = only(1)
    assert most_since(rig, LEARNED + 3 * S) == 2


def test_a_suspect_that_answers_late_is_asked_again_at_once() -> None:
    rig = LinkRig(BOTH, QUICK, in_flight=1).run(LEARNED)
    rig.answer = lambda request: QUICK(request) if request.unit == 1 else [(2500 * MS, answer_to(request))]
    rig.run(LEARNED + 3 * S)
    rig.answer = QUICK
    rig.run(LEARNED + 7 * S)
    assert rig.device_counts(1)["ok"] >= 300 + 10


def test_what_came_while_the_whole_process_slept_teaches_no_patience() -> None:
    rig = LinkRig(BOTH, QUICK, in_flight=1).run(LEARNED)
    rig.answer = after(900 * MS)
    rig.run(LEARNED + MS)
    rig.wake = LEARNED + 900 * MS
    rig.run(LEARNED + 900 * MS)
    rig.answer = QUICK
    rig.run(LEARNED + 5 * S)
    assert rig.counts["timeouts"] == 0
    rig.answer = only(2)
    assert most_since(rig, LEARNED + 5 * S + 200 * MS) == 2


# --- several at once ---


def test_requests_that_wait_in_a_gateway_behind_others_are_not_overdue() -> None:
    polls = [Poll(unit=1 + at, period=400 * MS, timeout=S) for at in range(16)]
    rig = LinkRig(polls, OneLine(lambda _: 20 * MS), in_flight=8).run(120 * S)
    assert rig.most_under_way == rig.link.width() == 8
    assert rig.counts["timeouts"] == 0


def test_one_behind_a_unit_that_is_slow_is_not_overdue_either() -> None:
    takes = {1: 5 * MS, 2: 5 * MS, 3: 5 * MS}
    rig = LinkRig(
        [Poll(unit=unit, timeout=S) for unit in takes], OneLine(lambda request: takes[request.unit]), in_flight=2
    )
    rig.run(LEARNED)
    takes[1] = 500 * MS
    assert most_since(rig, LEARNED + 400 * MS) == 3  # one that is overdue and two, though both wait for it


def in_turn(*units: int) -> list[Poll]:
    return [Poll(unit, 400 * MS, phase=at * MS, timeout=S) for at, unit in enumerate(units)]


@pytest.mark.parametrize("first", [80 * MS, 300 * MS])
def test_what_units_take_side_by_side_is_not_taken_for_what_they_take_one_after_the_other(first: int) -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        return [(first if request.unit == 1 else 80 * MS, answer_to(request))]

    rig = LinkRig(in_turn(1, 2), answer, in_flight=2).run(2400 * S)  # the slowest answer is forgotten slowly
    rig.adopt(in_turn(2, 3, 4))  # 2 has always been answered a moment after 1, or before it
    assert most_since(rig, rig.now + LEARNED) == 2


def test_what_a_unit_takes_is_learned_though_it_mostly_waits_behind_others() -> None:
    dead: list[int] = []
    gateway = OneLine(lambda request: None if request.unit in dead else 60 * MS, patience=500 * MS)
    polls = [Poll(unit, period * MS, timeout=S) for unit, period in ((1, 300), (2, 350), (3, 410), (4, 430))]
    rig = LinkRig(polls, gateway, in_flight=2).run(2000 * S)
    rig.adopt([Poll(unit, address=500, phase=100 * S) for unit in (1, 2, 3)])
    dead.append(2)
    rig.run(rig.now + S).adopt(in_turn(2, 1, 3))
    assert most_since(rig, rig.now + 150 * MS) == 3


def test_an_answer_whose_rest_is_long_in_coming_makes_nobody_overdue() -> None:
    rig = LinkRig(BOTH, QUICK, in_flight=1).run(LEARNED)

    def torn(request: Request) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        return [(5 * MS, whole[:10]), (700 * MS, whole[10:])]

    rig.answer = torn
    assert most_since(rig, LEARNED + 700 * MS) == 1
    rig.answer = QUICK
    rig.run(LEARNED + 5 * S)
    assert rig.counts["timeouts"] == rig.stalls == 0


# --- gateways that take one request at a time ---


def one_at_a_time(dead: set[int], patience: int) -> Answer:
    """It forgets what comes while it waits for a unit."""
    free_at = 0

    def answer(request: Request) -> list[tuple[int, bytes]]:
        nonlocal free_at
        if request.at < free_at:
            return []
        free_at = request.at + (patience if request.unit in dead else 5 * MS)
        return [] if request.unit in dead else QUICK(request)

    return answer


def test_a_gateway_that_forgets_what_it_is_asked_meanwhile_is_seldom_asked_meanwhile() -> None:
    dead: set[int] = set()
    rig = LinkRig(BOTH, one_at_a_time(dead, 800 * MS), in_flight=1).run(LEARNED)
    dead.add(2)
    rig.run(LEARNED + 200 * S)
    assert rig.device_counts(0)["timeouts"] == 1
    rig.run(LEARNED + 600 * S)
    assert rig.device_counts(0)["timeouts"] == 2
    assert rig.device_counts(0)["ok"] > 0.95 * 6300


def test_a_gateway_that_closes_the_connection_on_a_second_request_is_not_sent_another_one() -> None:
    rig = LinkRig(BOTH, QUICK, in_flight=1).run(LEARNED)
    rig.answer = only(1)
    rig.run(LEARNED + 102 * MS)
    assert rig.link.under_way() == 2
    rig.reconnect()
    assert most_since(rig, 2 * LEARNED) == 1


def test_one_that_mixes_up_its_answers_is_not_either() -> None:
    rig = LinkRig(BOTH, QUICK, in_flight=1).run(LEARNED)
    rig.answer = only(1)
    rig.run(LEARNED + 102 * MS)
    rig.put(rig.now, frame(0x5555, 1, b"\x03\x02\x00\x01"))
    rig.run(LEARNED + 2 * S)
    assert most_since(rig, 2 * LEARNED) == 1


@pytest.mark.parametrize("answer", [silent, only(1)])
def test_a_connection_on_which_nothing_comes_is_closed_one_with_a_dead_unit_is_not(answer: Callable) -> None:
    rig = LinkRig(BOTH, QUICK, in_flight=1).run(LEARNED)
    rig.answer = answer
    rig.run(LEARNED + 6 * S)
    assert rig.stalls == (answer is silent)
