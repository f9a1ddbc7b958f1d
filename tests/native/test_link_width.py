"""How many requests a link has under way at once, and what makes it have fewer."""

import itertools

import pytest
from links import MS, LinkRig, Poll, Request, S, after, answer_to, silent

from agent._native.linkloop import MOST_IN_FLIGHT, VirtualLink

QUICK = after(5 * MS)
MANY = [Poll(address=10 * at) for at in range(16)]


# --- several at once ---


@pytest.mark.parametrize("width", [1, 2, 7, 16])
def test_as_many_requests_are_under_way_as_configured_and_no_more(width: int) -> None:
    rig = LinkRig(MANY, QUICK, in_flight=width).run(5 * S)
    assert rig.most_under_way == width
    assert rig.wrong == []
    assert rig.counts["ok"] >= len(rig.sent) - width


def test_requests_that_are_due_together_are_sent_together() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(1 * S)
    later = [request.at for request in rig.sent if request.at >= 100 * MS]
    assert all(len(list(group)) == 16 for _, group in itertools.groupby(later))


def test_the_first_request_of_a_connection_goes_alone() -> None:
    rig = LinkRig(MANY, silent, in_flight=16).run(100 * MS)
    assert len(rig.sent) == 1
    rig = LinkRig(MANY, QUICK, in_flight=16).run(6 * MS)
    assert [request.at for request in rig.sent] == [0] + [5 * MS] * 15


def test_a_block_is_not_asked_for_again_while_its_answer_is_awaited() -> None:
    rig = LinkRig([Poll(period=10 * MS)], after(35 * MS), in_flight=16).run(10 * S)
    assert rig.most_under_way == 1
    assert rig.counts["transactions"] == pytest.approx(10 * S / (40 * MS), abs=40)
    assert rig.counts["overruns"] + rig.counts["transactions"] == pytest.approx(1000, abs=4)


@pytest.mark.parametrize("width", [0, 17, -1])
def test_a_width_that_cannot_be_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match="in flight; 1 to 16"):
        VirtualLink(in_flight=width)
    assert MOST_IN_FLIGHT == 16


# --- narrower ---


# --- narrower ---


def test_answers_out_of_turn_are_right_and_make_the_link_ask_one_at_a_time() -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        return [((20 - request.number % 16) * MS, answer_to(request))]

    rig = LinkRig(MANY, answer, in_flight=16).run(5 * S)
    assert rig.wrong == []
    assert rig.counts["timeouts"] == 0
    assert rig.link.width() == 1


def test_units_of_a_gateway_may_answer_in_any_order() -> None:
    polls = [Poll(unit=unit, period=200 * MS) for unit in range(1, 17)]
    rig = LinkRig(polls, lambda request: [((40 - request.unit) * MS, answer_to(request))], in_flight=16).run(5 * S)
    assert rig.link.width() == 16
    assert rig.counts["timeouts"] == rig.counts["overruns"] == 0


def test_a_device_that_mixes_up_numbers_is_asked_for_one_thing_at_a_time() -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        under_way = rig.link.under_way()
        return [(MS, answer_to(request._replace(transaction=0 if under_way > 1 else request.transaction)))]

    rig = LinkRig(MANY, answer, in_flight=16)
    rig.run(5 * S)
    assert rig.wrong == []
    assert rig.link.width() == 1
    assert rig.counts["ok"] > len(rig.sent) - 20


def test_a_device_that_takes_one_request_at_a_time_and_forgets_the_others_gets_one_at_a_time() -> None:
    taken_until = 0

    def answer(request: Request) -> list[tuple[int, bytes]]:
        nonlocal taken_until
        if request.at < taken_until:
            return []
        taken_until = request.at + 5 * MS
        return [(5 * MS, answer_to(request))]

    rig = LinkRig(MANY, answer, in_flight=16).run(10 * S)
    assert rig.link.width() == 1
    assert rig.counts["timeouts"] < 32
    assert rig.stalls == 0


def test_a_device_that_takes_four_gets_four_of_sixteen() -> None:
    waiting: list[int] = []

    def answer(request: Request) -> list[tuple[int, bytes]]:
        waiting[:] = [until for until in waiting if until > request.at]
        if len(waiting) == 4:
            return []
        waiting.append(request.at + 5 * MS)
        return QUICK(request)

    rig = LinkRig(MANY, answer, in_flight=16).run(60 * S)
    assert rig.link.width() in {4, 8}  # it is tried again, seldom
    assert rig.counts["timeouts"] < rig.counts["ok"] / 50


def test_a_connection_closed_on_the_second_request_is_not_given_a_second_one_again() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(6 * MS)
    assert rig.link.under_way() == 15
    rig.reconnect()
    rig.run(5 * S)
    assert rig.link.width() == 1
    assert rig.most_under_way == 15
    assert adds_up_one(rig)


def test_a_connection_that_carried_several_and_is_lost_carries_several_again() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(1 * S)
    rig.run(rig.now + 2 * MS)
    rig.reconnect()
    rig.run(2 * S)
    assert rig.link.width() == 16
    assert adds_up_one(rig)


def adds_up_one(rig: LinkRig) -> bool:
    counts = rig.counts
    return counts["transactions"] == counts["ok"] + counts["timeouts"] + rig.link.under_way()
