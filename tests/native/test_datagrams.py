"""Requests and answers in datagrams: lost, doubled, late and out of order, and never a wrong value; in virtual time."""

import itertools
import random

import links
import pytest
from bus_rig import EXCEPTION, GOOD, MS, Poll, Rig, S, answer_to, with_crc
from hypothesis import given
from hypothesis import strategies as st

WINDOW = 250 * MS  # FT_LATE_LEAST_NS: so long a copy is feared
REMEMBERED = 128  # FT_OWED_MAX
PAIR = [Poll(address=0, quantity=1), Poll(address=500, quantity=1)]  # of one shape
WAYS = st.lists(st.lists(st.integers(0, WINDOW - 60 * MS), min_size=0, max_size=3), min_size=1, max_size=40)


def network(ways: list[list[int]]):
    """To each answer as many copies as it has delays, none where it gets lost."""

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        return [(delay, answer_to(request)) for delay in ways[number % len(ways)]]

    return answer


# --- RTU frames ---


@given(WAYS, st.lists(st.sampled_from([0, 20, 500, 520]), min_size=2, max_size=4, unique=True))
def test_no_copy_of_an_answer_is_taken_for_the_next_ones(ways: list[list[int]], addresses: list[int]) -> None:
    polls = [Poll(address=address, quantity=2, period=50 * MS, timeout=60 * MS) for address in addresses]
    rig = Rig(polls, network(ways), datagrams=True).run(20 * S)
    assert rig.wrong() == []


def test_a_copy_is_recognised_and_counted() -> None:
    rig = Rig(PAIR, network([[5 * MS, 20 * MS]]), datagrams=True).run(10 * S)
    assert rig.wrong() == []
    assert rig.counts["stale_discarded"] == pytest.approx(rig.counts["ok"], abs=2)
    assert rig.counts["timeouts"] == 0


def test_nothing_of_the_shape_of_an_answer_is_asked_for_while_a_copy_may_come() -> None:
    rig = Rig(PAIR, network([[5 * MS]]), datagrams=True).run(20 * S)
    answered = [at for at, _ in rig.sent]
    assert min(later - earlier for earlier, later in itertools.pairwise(answered)) >= WINDOW
    assert rig.counts["barriers"] == 0  # on a way on which all may be overtaken, they prove nothing


def test_where_more_copies_may_come_than_can_be_remembered_the_line_rests() -> None:
    polls = [Poll(unit=unit, quantity=quantity, period=60 * S) for quantity in (1, 2, 3) for unit in range(1, 66)]
    rig = Rig(polls[:132], network([[MS]]), datagrams=True, char_ns=0, quiet_ns=0).run(S)
    at = [sent // MS for sent, _ in rig.sent]
    assert at == [*range(REMEMBERED + 1), 251, 252, 253]  # until the first one cannot come again, then the second one


def test_on_a_serial_line_there_are_no_copies_to_be_feared() -> None:
    rig = Rig(PAIR, network([[5 * MS]])).run(20 * S)
    assert len(rig.sent) == 400


def test_polls_slower_than_the_window_keep_their_rate() -> None:
    polls = [Poll(address=100 * at, quantity=1 + at, period=1 * S) for at in range(8)]
    rig = Rig(polls, network([[5 * MS], [5 * MS, 200 * MS]]), datagrams=True).run(60 * S)
    assert (rig.counts["ok"], rig.counts["overruns"]) == (480, 0)


def test_a_refused_block_is_told_with_its_exception_each_time() -> None:
    def refuse(request: bytes, _: int) -> list[tuple[int, bytes]]:
        return [(5 * MS, with_crc(bytes([request[0], request[1] | 0x80, 2])))]

    rig = Rig([Poll(quantity=1, period=1 * S)], refuse, datagrams=True).run(20 * S)
    assert {sample.quality for sample in rig.samples} == {EXCEPTION}
    assert rig.counts["ambiguous"] == 0


def refused(request: bytes, code: int = 2) -> bytes:
    return with_crc(bytes([request[0], request[1] | 0x80, code]))


def test_a_refusal_is_believed_while_no_more_than_a_copy_of_an_answer_may_come() -> None:
    polls = [Poll(quantity=1), Poll(address=500, quantity=2)]
    rig = Rig(
        polls,
        lambda request, _: [(5 * MS, answer_to(request) if request[5] == 1 else refused(request))],
        datagrams=True,
    )
    rig.run(20 * S)
    assert {(sample.tag < 1500, sample.quality) for sample in rig.samples} == {(True, GOOD), (False, EXCEPTION)}
    assert rig.counts["ambiguous"] == 0


def test_the_copy_of_a_refusal_is_not_taken_for_that_of_another_block() -> None:
    """It comes while the other one is asked for, which is answered later."""

    def answer(request: bytes, _: int) -> list[tuple[int, bytes]]:
        if request[5] == 1:
            return [(5 * MS, refused(request)), (30 * MS, refused(request))]
        return [(60 * MS, answer_to(request))]

    rig = Rig([Poll(quantity=1, period=S), Poll(address=500, quantity=2, period=S)], answer, datagrams=True).run(20 * S)
    assert EXCEPTION not in {sample.quality for sample in rig.samples if sample.tag >= 1500}
    assert EXCEPTION in {sample.quality for sample in rig.samples if sample.tag < 1500}


def test_a_doubled_request_that_is_refused_once_gives_no_wrong_value() -> None:
    """The first answer is an exception, the second one, to the copy of the request, is none."""

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        exception = with_crc(bytes([request[0], request[1] | 0x80, 6]))
        return (
            [(5 * MS, exception), (120 * MS, answer_to(request))] if number % 3 == 0 else [(5 * MS, answer_to(request))]
        )

    rig = Rig(PAIR, answer, datagrams=True).run(60 * S)
    assert rig.wrong() == []
    assert len(rig.good()) > 50


# --- Modbus TCP frames ---


@given(seed=st.integers(0, 2**32), width=st.sampled_from([1, 4]))
def test_numbered_answers_are_matched_however_they_come(seed: int, width: int) -> None:
    dice = random.Random(seed)

    def answer(request: links.Request) -> list[tuple[int, bytes]]:
        whole = links.answer_to(request)
        copies = [(dice.randrange(500 * MS), whole) for _ in range(dice.choice((0, 1, 1, 1, 2, 3)))]
        return (
            [*copies, (dice.randrange(100 * MS), whole[: dice.randrange(len(whole))])]
            if dice.random() < 0.1
            else copies
        )

    polls = [links.Poll(unit=unit, address=10 * at) for unit in (1, 2) for at in range(4)]
    rig = links.LinkRig(polls, answer, in_flight=width, datagrams=True).run(30 * S)
    assert rig.wrong == []


def test_half_a_datagram_is_noise_and_the_next_one_begins_anew() -> None:
    def answer(request: links.Request) -> list[tuple[int, bytes]]:
        whole = links.answer_to(request)
        return [(5 * MS, whole[:9]), (9 * MS, whole)]

    rig = links.LinkRig([links.Poll()], answer, datagrams=True).run(10 * S)
    assert (rig.counts["ok"], rig.counts["timeouts"], rig.stalls) == (100, 0, 0)
    assert rig.quirks["noise_bytes"] == 900


def test_where_nobody_answers_there_is_no_connection_to_be_made_anew() -> None:
    assert links.LinkRig([links.Poll()], links.silent, datagrams=True).run(60 * S).stalls == 0
    assert links.LinkRig([links.Poll()], links.silent).run(60 * S).stalls > 0


def test_over_a_stream_half_an_answer_is_waited_for() -> None:
    rig = links.LinkRig([links.Poll()], lambda request: [(5 * MS, links.answer_to(request)[:9])]).run(2 * S)
    assert rig.stalls > 0


def test_a_copy_does_not_narrow_the_link() -> None:
    rig = links.LinkRig(
        [links.Poll(address=10 * at) for at in range(4)],
        lambda request: [(5 * MS, links.answer_to(request)), (6 * MS, links.answer_to(request))],
        in_flight=1,
        datagrams=True,
    ).run(10 * S)
    assert rig.counts["ok"] == len(rig.sent)
