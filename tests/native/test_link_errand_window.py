"""Single requests and the window of a TCP link: they are no experiment, and what becomes of them teaches nothing."""

import random

import pytest
from link_errands import MANY, READ, ROUND, WRITE, ErrandRig, device, only_reads, reply, write
from links import MS, Poll, Request, S, silent


@pytest.mark.parametrize("connections", [1, 2])
def test_on_a_new_connection_it_goes_alone_until_two_at_once_were_answered(connections: int) -> None:
    rig = ErrandRig(MANY, in_flight=16)
    if connections == 2:
        rig.run(S).reconnect()
    begun, before = rig.now, len(rig.sent)
    rig.run(begun + 2 * MS)
    rig.offer(write())
    rig.run(begun + 3 * ROUND)
    sent = [(request.at - begun, request.function) for request in rig.sent[before:]]
    assert sent == [(0, READ), (ROUND, WRITE), *[(2 * ROUND, READ)] * 15]


def test_a_device_that_closes_on_a_second_request_is_written_to_all_the_same() -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        if rig.link.under_way() > 1:
            closes.append(request.at)
        return device(request)

    closes: list[int] = []
    rig = ErrandRig([Poll()], in_flight=16)
    rig.answer = answer
    for _ in range(50):
        rig.offer(write())
        rig.run(rig.now + 37 * MS)
    assert closes == []
    assert [became[0].end for became in rig.all] == ["answered"] * 50


def test_a_device_that_takes_four_of_sixteen_forgets_reads_and_no_write() -> None:
    waiting: list[int] = []

    def answer(request: Request) -> list[tuple[int, bytes]]:
        waiting[:] = [until for until in waiting if until > request.at]
        if len(waiting) == 4:
            return []
        waiting.append(request.at + ROUND)
        return device(request)

    rig = ErrandRig(MANY, answer, in_flight=16)
    chance = random.Random(1)
    while rig.now < 60 * S:
        rig.offer(write())
        rig.run(rig.now + chance.randrange(100) * MS + 2 * ROUND)
    rig.run(rig.now + S)
    assert rig.counts["timeouts"] > 16
    assert {became[0].end for became in rig.all} == {"answered"}


def test_what_a_device_took_once_is_forgotten_when_it_takes_less() -> None:
    takes, waiting = 16, list[int]()

    def answer(request: Request) -> list[tuple[int, bytes]]:
        waiting[:] = [until for until in waiting if until > request.at]
        if len(waiting) >= takes:
            return []
        waiting.append(request.at + ROUND)
        return device(request)

    rig = ErrandRig(MANY, answer, in_flight=16).run(5 * S)
    takes = 4
    rig.run(15 * S)
    rig.adopt(MANY[:4])  # never more than it takes, so the window grows again
    rig.run(900 * S)
    assert rig.link.width() > takes
    for at in range(20):
        rig.run(900 * S + at * 100 * MS + MS)  # four are under way
        rig.offer(write())
    rig.run(905 * S)
    assert [became[0].end for became in rig.all] == ["answered"] * 20


def test_a_device_that_took_several_once_is_tried_with_several_again_and_again() -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        is_busy = 3 * S < request.at < 60 * S
        return [] if is_busy and rig.link.under_way() > 1 else device(request)

    rig = ErrandRig([Poll(address=10 * at, period=10 * MS, timeout=50 * MS) for at in range(2)], in_flight=2)
    rig.answer = answer
    rig.run(59 * S)
    assert rig.counts["timeouts"] > 2  # it was tried
    rig.run(200 * S)
    assert rig.link.width() == 2


def test_silence_after_it_tells_nothing_of_the_width_the_device_or_the_connection() -> None:
    rig = ErrandRig(MANY, only_reads, in_flight=16).run(S)
    rig.adopt(MANY[:8])
    for at in range(40):
        rig.run(2 * S + at * 50 * MS + 2 * MS)
        rig.offer(write(), timeout=20 * MS)  # every other time behind the reads
    rig.run(5 * S)
    assert len([request for request in rig.sent_of(WRITE) if request.at % (100 * MS) == 2 * MS]) == 20
    assert {became[0].end for became in rig.all} == {"timed-out"}
    assert rig.link.width() == 16
    assert (rig.stalls, rig.counts["probes"], rig.counts["overruns"]) == (0, 0, 0)


def test_a_link_without_any_other_traffic_is_not_closed_for_it_nor_its_device_a_suspect() -> None:
    rig = ErrandRig([Poll(period=3600 * S)], only_reads).run(S)
    for _ in range(10):
        rig.offer(write())
        rig.run(rig.now + 400 * MS)
    rig.run(3601 * S)
    assert (rig.stalls, rig.counts["probes"], rig.counts["transactions"]) == (0, 0, 12)


def test_polls_that_fall_silent_beside_it_are_a_silence_of_their_own() -> None:
    rig = ErrandRig(MANY, in_flight=16).run(S)
    rig.answer = silent
    rig.offer(write(), timeout=2 * S)
    rig.run(3 * S - 1)
    assert [request.at for request in rig.sent if request.at >= S] == [
        S
    ] * 16  # a silent device is asked one thing at a time
    rig.run(20 * S)
    assert rig.counts["probes"] > 0


@pytest.mark.parametrize("slow", [READ, WRITE])
def test_reads_and_writes_that_overtake_each_other_are_no_disorder(slow: int) -> None:
    rig = ErrandRig(MANY, in_flight=16).run(S)
    rig.adopt(MANY[:8])
    rig.answer = lambda request: [(40 * MS if request.function == slow else ROUND, reply(request))]
    for at in range(20):
        rig.run(2 * S + at * 50 * MS + 2 * MS)
        rig.offer(write())  # every other time behind the reads
    rig.run(4 * S)
    assert [became[0].end for became in rig.all] == ["answered"] * 20
    assert rig.link.width() == 16
