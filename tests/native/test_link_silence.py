"""One TCP link on which answers are missing, stop, come late, or drown in what nobody asked for."""

import struct
from collections.abc import Callable

import pytest
from links import COMM_FAIL, GOOD, MS, LinkRig, Poll, Request, S, after, answer_to, frame, silent

from agent._native.linkloop import VirtualLink

QUICK = after(5 * MS)
MANY = [Poll(address=10 * at) for at in range(16)]
NOISE_MOST = 65_536  # bytes since the last answer


def test_a_dead_unit_of_a_gateway_costs_the_others_nothing() -> None:
    polls = [Poll(unit=unit, address=10 * at, timeout=S) for unit in (1, 2) for at in range(4)]
    rig = LinkRig(polls, lambda request: QUICK(request) if request.unit == 1 else [], in_flight=4).run(60 * S)
    assert rig.device_counts(0)["ok"] >= 0.98 * 4 * 600
    assert rig.device_counts(1)["probes"] < 10
    rig.answer = QUICK
    rig.run(180 * S)
    assert rig.device_counts(1)["ok"] > 4 * 500


def test_a_dead_device_fails_all_its_tags_also_those_that_were_not_asked_for() -> None:
    rig = LinkRig([Poll(), Poll(address=10, period=1000 * S, phase=500 * S)], silent).run(5 * S)
    failed = [sample.tag for sample in rig.samples if sample.quality == COMM_FAIL]
    assert [failed.count(tag) for tag in (1010, 1011)] == [1, 1]
    assert failed.count(1000) == rig.counts["timeouts"] >= 3


def test_late_answers_are_counted_once_for_the_link_and_for_the_device() -> None:
    rig = LinkRig([Poll()], lambda request: [(350 * MS if request.number % 10 == 5 else 5 * MS, answer_to(request))])
    rig.run(20 * S)
    late = len(rig.sent) // 10
    assert rig.counts["stale_discarded"] == rig.device_counts(0)["stale_discarded"] == rig.quirks["late"]
    assert rig.quirks["late"] == pytest.approx(late, abs=1)


def test_requests_that_fall_silent_together_are_one_silence() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(S)
    rig.answer = silent
    rig.run(1 * S + 700 * MS)
    assert rig.counts["timeouts"] == 17
    assert rig.counts["probes"] == 0


def test_a_connection_on_which_nothing_comes_any_more_is_closed_and_its_tags_fail() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(S)
    rig.answer = silent
    before = len(rig.samples)
    rig.run(3 * S)
    assert rig.stalls == 1
    assert {sample.quality for sample in rig.samples[before + 32 :]} == {COMM_FAIL}
    assert {sample.tag for sample in rig.samples[before:]} == {1000 + 10 * at + i for at in range(16) for i in range(2)}


def test_a_new_connection_is_a_reason_to_ask_the_silent_at_once() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(S)
    rig.answer = silent
    rig.run(10 * S)
    rig.answer = QUICK
    rig.reconnect()
    rig.run(10 * S + 100 * MS)
    assert rig.samples[-1].quality == GOOD
    rig.run(12 * S)
    assert rig.link.width() == 16


def test_a_device_that_accepts_connections_and_never_answers_is_not_connected_to_all_the_time() -> None:
    rig = LinkRig(MANY, silent, in_flight=16).run(3600 * S)
    assert 1 <= rig.stalls < 30
    assert len(rig.sent) < 300


def test_an_answer_that_stops_in_its_middle_costs_the_connection_for_its_end_is_no_beginning() -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        return [(5 * MS, whole[:10]), (400 * MS, whole[10:])] if request.number == 3 else [(5 * MS, whole)]

    rig = LinkRig([Poll()], answer).run(5 * S)
    assert rig.wrong == []
    assert rig.stalls == rig.counts["timeouts"] == 1
    assert rig.counts["ok"] >= 40


def test_the_head_of_a_frame_that_never_comes_swallows_no_more_than_one_answer() -> None:
    rig = LinkRig([Poll()], QUICK).run(950 * MS)
    rig.put(rig.now, struct.pack(">HHHB", 0x5555, 0, 250, 1))
    rig.run(60 * S)
    assert rig.wrong == []
    assert rig.stalls == rig.counts["timeouts"] == 1
    assert rig.counts["ok"] == pytest.approx(600, abs=8)


def test_a_frame_in_pieces_that_nobody_asked_for_costs_no_connection() -> None:
    foreign = frame(0x5555, 1, bytes(200))
    rig = LinkRig([Poll(), Poll(unit=2, period=70 * MS)], QUICK, in_flight=4).run(950 * MS)

    def answer(request: Request) -> list[tuple[int, bytes]]:
        after_it = max(5 * MS, S + 81 * MS - request.at) if request.at >= S else 5 * MS
        return [(after_it, answer_to(request))] if request.unit == 1 or request.at < S else []

    rig.answer = answer
    rig.put(S, foreign[:50])
    rig.put(S + 80 * MS, foreign[50:])  # meanwhile unit 2 was asked
    rig.run(10 * S)
    assert (rig.stalls, rig.wrong) == (0, [])
    assert rig.counts["timeouts"] == rig.device_counts(1)["timeouts"] > 0


def test_a_late_answer_in_pieces_costs_no_connection() -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        late = answer_to(request)
        return [(330 * MS, late[:10]), (390 * MS, late[10:])] if request.number == 0 else []

    rig = LinkRig([Poll(period=S), Poll(unit=2, period=S, phase=340 * MS)], answer).run(700 * MS)
    assert [request.at for request in rig.sent] == [0, 340 * MS]
    assert (rig.stalls, rig.counts["timeouts"], rig.counts["stale_discarded"]) == (0, 2, 1)


def test_one_that_stops_right_behind_another_does_so_too() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> list[tuple[int, bytes]]:
        asked.append(request)
        if request.number < 2 or rig.connection > 0:
            return QUICK(request)
        return [(5 * MS, answer_to(asked[2]) + answer_to(request)[:10])] if request.number == 3 else []

    rig = LinkRig([Poll(), Poll(address=10)], in_flight=2)
    rig.answer = answer
    rig.run(5 * S)
    assert rig.wrong == []
    assert (rig.stalls, rig.counts["timeouts"]) == (1, 2)  # its own, and what was asked behind it


def test_frames_that_nobody_asked_for_are_counted_and_a_new_connection_begins_with_one() -> None:
    noise, other, foreign = b"\xff" * 12, b"\x03\x02\x00\x01", frame(0x5555, 1, b"\x03\x02\x00\x01")
    rig = LinkRig([Poll(period=S)], lambda request: [(MS, frame(request.transaction, 9, other)), *QUICK(request)])
    rig.run(100 * MS)
    rig.put(rig.now, noise)
    rig.run(200 * MS)
    rig.reconnect()
    rig.put(rig.now, foreign)
    rig.run(300 * MS)
    assert rig.quirks == {
        "late": 0, "foreign": 1, "misfits": 1, "odd_lengths": 0, "noise_bytes": len(noise) - 8 + 2 * len(foreign)
    }  # fmt: skip


@pytest.mark.parametrize(("answer", "stalls"), [(silent, 5), (QUICK, 0)])
def test_a_peer_that_only_babbles_costs_its_connection_one_that_answers_too_keeps_it(
    answer: Callable[[Request], list[tuple[int, bytes]]], stalls: int
) -> None:
    rig = LinkRig([Poll(period=10 * MS)], answer)
    for _ in range(5 * (NOISE_MOST // 1000 + 1)):
        rig.put(rig.now, bytes([0xFF]) * 1000)
        rig.run(rig.now + 3 * MS)
    assert rig.stalls == stalls
    assert rig.wrong == []


def test_bytes_for_no_plan_and_no_connection_are_nothing() -> None:
    link = VirtualLink(in_flight=4)
    assert link.step(0, b"\x00" * 300) == (b"", 2**63 - 1, False)
    link.attach(0)
    assert link.step(0, struct.pack(">HHHBBBH", 1, 0, 5, 1, 3, 2, 7))[0] == b""


def test_what_became_due_while_there_was_no_connection_is_polled_once_and_counts_as_no_overrun() -> None:
    rig = LinkRig([Poll(), Poll(unit=2, address=10)], QUICK, in_flight=4).run(S + 50 * MS)
    begun = len(rig.sent)
    rig.now += 10 * S + 20 * MS
    rig.reconnect()
    rig.run(rig.now + S)
    assert rig.counts["overruns"] == 0
    later = [request.at for request in rig.sent[begun:]]
    assert later[0] == 11 * S + 70 * MS
    assert {at % (100 * MS) for at in later[2:]} == {0}
    assert len(later) == 2 + 2 * 10


def test_what_a_silent_device_was_not_asked_is_not_made_up_for_when_it_answers_again() -> None:
    polls = [Poll(), Poll(unit=2), Poll(unit=2, address=10)]
    rig = LinkRig(polls, lambda request: QUICK(request) if request.unit == 1 else [], in_flight=4).run(100 * S)
    missed = rig.device_counts(1)["overruns"]
    rig.answer = QUICK
    rig.run(200 * S)
    assert rig.device_counts(1)["ok"] > 100
    assert rig.device_counts(1)["overruns"] == missed


def test_a_frame_that_nobody_asked_for_among_several_requests_is_a_reason_to_ask_one_thing_at_a_time() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16).run(S + 2 * MS)
    assert (rig.link.under_way(), rig.link.width()) == (16, 16)
    rig.put(rig.now, frame(0x5555, 1, b"\x03\x02\x00\x01"))
    rig.run(30 * S)
    assert rig.link.width() == 1
    assert rig.wrong == []
