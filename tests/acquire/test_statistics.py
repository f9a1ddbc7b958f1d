import bisect
import collections

import bus_rig
import links
import pytest
from bus_rig import MS, QUICK, Poll, Rig, S, after, answer_to, paced, silent
from hypothesis import given, settings
from hypothesis import strategies as st
from links import LinkRig
from links import Poll as LinkPoll
from links import answer_to as link_answer_to
from links import frame as link_frame
from tcp_servers import in_order
from wire import with_crc

from agent._native.busloop import HISTOGRAM_LIMITS_US
from agent._native.parts import Histogram
from agent.acquire.statistics import Asked, Mishap, Silences, Spans, mishap_of, silences_of, spans_of
from agent.model import WallClock

CLOCK = WallClock(1_000_000_000_000_000_000, 2, 1)
ASKED = (1, 3, 100, 2)
MISHAPS = [
    ((5_000_000, 1, 0, b"", ASKED), "no answer", ""),
    ((5_000_000, 2, 0, b"\x01\x03", ASKED), "a piece of an answer", "01 03"),
    ((5_000_000, 3, 0, b"\x55", ASKED), "only bytes that do not answer", "55"),
    ((5_000_000, 5, 2, b"\x01\x83\x02", ASKED), "exception 2: it has no such register", "01 83 02"),
    ((5_000_000, 5, 99, b"", ASKED), "exception 99: a code of its own", ""),
    ((5_000_000, 6, 0, b"", ASKED), "an exception that may answer another request", ""),
]


def histogram(spans: list[int]) -> tuple[int, ...]:
    made = Histogram()
    for span in spans:
        made.add(span)
    return made.counts()


@given(st.lists(st.integers(-(10**12), 10**12), max_size=50))
def test_every_span_is_in_the_class_of_its_time(spans):
    expected = [0] * len(HISTOGRAM_LIMITS_US)
    for span in spans:
        us = max(span, 0) // 1000
        expected[min(bisect.bisect_right(HISTOGRAM_LIMITS_US, us), len(expected) - 1)] += 1
    assert list(histogram(spans)) == expected


@given(st.lists(st.integers(32_000, 30 * 10**9), min_size=1))
def test_a_quantile_is_off_by_a_quarter_at_most(spans):
    seen = spans_of(histogram(spans))
    ordered = sorted(spans)
    for figure, exact in ((seen.p50, ordered[(len(spans) - 1) // 2]), (seen.most, ordered[-1])):
        assert exact / 1e6 <= figure <= exact / 1e6 * 1.25 + 0.001


@given(st.lists(st.integers(0, 10**12), max_size=50))
def test_the_classes_that_are_shown_hold_every_span(spans):
    seen = spans_of(histogram(spans))
    classes = seen.classes if seen else ()
    assert sum(n for _, n in classes) == (seen.n if seen else 0) == len(spans)
    assert [limit for limit, _ in classes] == sorted({limit for limit, _ in classes})


def test_without_a_span_there_is_no_quantile():
    assert spans_of(histogram([])) is None


def test_few_slow_answers_show_in_p99_and_not_in_p50():
    seen = spans_of(histogram([5_000_000] * 97 + [900_000_000] * 3))
    assert seen == Spans(100, 5.12, 917.504, 917.504, ((5.12, 97), (917.504, 3)))


@pytest.mark.parametrize(("noted", "what", "heard"), MISHAPS)
def test_a_mishap_is_told_in_words_with_its_time_and_its_bytes(noted, what, heard):
    assert mishap_of(noted, CLOCK) == Mishap(1_000_000_000.005, what, Asked(*ASKED), heard)


def test_a_device_without_a_mishap_has_none():
    assert mishap_of((0, 0, 0, b"", (0, 0, 0, 0)), CLOCK) is None


# --- what a line or a link does to it ---


def damaged(answer: bytes) -> bytes:
    return answer[:-1] + bytes([answer[-1] ^ 0x40])


def refusal(code: int, function: int = 0x83) -> bytes:
    return with_crc(bytes([1, function, code]))


SERIAL_FAULTS = {
    "exception": (lambda _: refusal(2), "exception 2: it has no such register", refusal(2)),
    "busy": (lambda _: refusal(6), "exception 6: it is busy", refusal(6)),
    "crc": (lambda request: damaged(answer_to(request)), "wrong CRC", None),
    "silence": (lambda _: b"", "no answer", b""),
    "truncated": (lambda request: answer_to(request)[:9], "a piece of an answer", None),
    "babble": (lambda _: b"\xa5" * 20, "only bytes that do not answer", b"\xa5" * 20),
}


@pytest.mark.parametrize("name", SERIAL_FAULTS)
def test_the_last_error_of_a_device_on_a_line_says_what_came_of_which_request(name):
    answer, what, heard = SERIAL_FAULTS[name]
    rig = Rig([Poll(address=7, quantity=3, period=S)], lambda request, _: paced(answer(request), 2 * MS)).run(S)
    last = mishap_of(rig.bus.statistics()[1][0][2], CLOCK)
    assert (last.what, last.asked) == (what, Asked(1, 3, 7, 3))
    assert heard is None or last.heard == heard.hex(" ")
    assert heard == b"" or last.heard


def test_an_exception_that_may_be_a_late_one_is_told_as_ambiguous():
    """Two blocks, so that there is another shape to go on with while the first answer is owed."""
    late = {0: 400 * MS}
    polls = [Poll(address=0, quantity=1), Poll(address=20, quantity=9)]

    def answer(_: bytes, number: int) -> list[tuple[int, bytes]]:
        return paced(refusal(2), late.get(number, 2 * MS))

    rig = Rig(polls, answer)
    told = [mishap_of(rig.run(at * 10 * MS).bus.statistics()[1][0][2], CLOCK) for at in range(1, 200)]
    assert rig.counts["ambiguous"]
    assert "an exception that may answer another request" in {last.what for last in told if last}


LINK_FAULTS = {
    "exception": (
        lambda r: [(MS, link_frame(r.transaction, 1, b"\x83\x04"))],
        "exception 4: it failed while trying",
        "01 83 04",
    ),
    "silence": (lambda _: [], "no answer", ""),
    "truncated": (lambda r: [(MS, link_answer_to(r)[:10])], "a piece of an answer", "01 03 04 "),
    "misfit": (
        lambda r: [(MS, link_frame(r.transaction, 9, b"\x03\x02\x12\x34"))],
        "only bytes that do not answer",
        "09 03 02 12 34",
    ),
}


@pytest.mark.parametrize("name", LINK_FAULTS)
def test_the_last_error_of_a_device_behind_a_link_says_what_came_of_which_request(name):
    answer, what, heard = LINK_FAULTS[name]
    rig = LinkRig([LinkPoll(address=7)], answer).run(1 * S)
    last = mishap_of(rig.link.statistics()[1][0][2], CLOCK)
    assert (last.what, last.asked) == (what, Asked(1, 3, 7, 2))
    assert last.heard[18:].startswith(heard.strip())
    assert bool(last.heard) == bool(heard)


@pytest.mark.parametrize("delay", [2 * MS, 17 * MS, 90 * MS])
def test_a_turnaround_is_the_round_trip_without_the_time_on_the_wire(delay):
    rig = Rig([Poll(quantity=10, timeout=200 * MS)], after(delay)).run(5 * S)
    round_trips, turnarounds, _ = rig.bus.statistics()[1][0]
    wire = (8 + 25) * rig.char_ns / 1e6
    assert spans_of(turnarounds).n == spans_of(round_trips).n == rig.counts["ok"]
    assert delay / 1e6 <= spans_of(turnarounds).p50 <= (delay / 1e6 + 0.5) * 1.25
    assert delay / 1e6 + wire <= spans_of(round_trips).p50 <= (delay / 1e6 + wire + 0.5) * 1.25


def test_a_link_knows_round_trips_and_no_turnarounds():
    rig = LinkRig([LinkPoll()], lambda request: [(20 * MS, link_answer_to(request))]).run(5 * S)
    round_trips, turnarounds, _ = rig.link.statistics()[1][0]
    assert (spans_of(round_trips).n, spans_of(round_trips).p50) == (rig.counts["ok"], 20.48)
    assert spans_of(turnarounds) is None


@pytest.mark.parametrize("answer", [QUICK, lambda r, n: QUICK(r, n) + paced(b"\x11\x22", 9 * MS)])
def test_every_byte_on_the_wire_is_counted(answer):
    carried = []

    def tallied(request: bytes, number: int) -> list[tuple[int, bytes]]:
        pieces = answer(request, number)
        carried.append(len(request) + sum(len(data) for _, data in pieces))
        return pieces

    rig = Rig([Poll(unit=1), Poll(unit=2, quantity=40)], tallied).run(10 * S)
    assert rig.counts["bytes_sent"] + rig.counts["bytes_heard"] == sum(carried)


# --- sums ---

kinds = st.lists(st.sampled_from(["good", "good", "crc", "silence", "refusal", "babble"]), min_size=1, max_size=60)


def line_answer(kind: str, request: bytes) -> list[tuple[int, bytes]]:
    frame = answer_to(request)
    made = {"good": frame, "crc": damaged(frame), "silence": b"", "refusal": refusal(4), "babble": b"\x11" * 30}
    return paced(made[kind], 2 * MS)


@settings(max_examples=40)
@given(kinds)
def test_what_is_counted_of_devices_adds_up_to_what_is_counted_of_their_line(faults):
    polls = [Poll(unit=unit, period=40 * MS, timeout=30 * MS) for unit in (1, 2, 3)]
    rig = Rig(polls, lambda request, number: line_answer(faults[number % len(faults)], request)).run(3 * S)
    devices = [collections.Counter(rig.device_counts(at)) for at in range(3)]
    assert sum(devices, collections.Counter()) == collections.Counter({k: n for k, n in rig.counts.items() if n})
    assert rig.counts["bytes_sent"] == sum(len(request) for _, request in rig.sent)


@settings(max_examples=40)
@given(kinds)
def test_what_is_counted_of_devices_adds_up_to_what_is_counted_of_their_link(faults):
    def answer(request) -> list[tuple[int, bytes]]:
        kind = faults[request.number % len(faults)]
        made = {
            "good": link_answer_to(request),
            "crc": link_frame(request.transaction, 77, b"\x03\x02\x00\x00"),
            "refusal": link_frame(request.transaction, request.unit, b"\x83\x06"),
            "babble": b"\x11" * 30,
        }
        return [(MS, made[kind])] if kind in made else []

    polls = [LinkPoll(unit=unit, period=40 * MS, timeout=30 * MS) for unit in (1, 2, 3)]
    rig = LinkRig(polls, answer).run(3 * S)
    devices = [collections.Counter(rig.device_counts(at)) for at in range(3)]
    assert sum(devices, collections.Counter()) == collections.Counter({k: n for k, n in rig.counts.items() if n})


def line_machine():
    rig = Rig([Poll()], lambda request, number: QUICK(request, number) if number else paced(refusal(2), MS)).run(2 * S)
    return rig.bus, lambda *units: bus_rig.plan_of([Poll(unit=unit, address=50) for unit in units])


def link_machine():
    refused = link_frame(1, 1, b"\x83\x02")
    rig = LinkRig([LinkPoll()], lambda request: [(MS, link_answer_to(request) if request.number else refused)]).run(
        2 * S
    )
    return rig.link, lambda *units: links.plan_of([LinkPoll(unit=unit, address=50) for unit in units])


@pytest.mark.parametrize("make", [line_machine, link_machine])
def test_another_plan_goes_on_counting_for_the_devices_it_keeps(make):
    machine, plan_of = make()
    counted, seen = machine.counters()[1][0], machine.statistics()[1][0]
    assert mishap_of(seen[2], CLOCK)
    machine.adopt(*plan_of(1, 2), now=2 * S)
    kept, fresh = machine.counters()[1]
    assert kept == counted
    assert sum(kept) > 0
    assert machine.statistics()[1][0] == seen
    assert not any(fresh)
    machine.adopt(*plan_of(9), now=2 * S)
    assert not any(machine.counters()[1][0])


def test_a_device_that_is_silent_is_a_suspect_until_it_answers():
    dumb = [True]
    rig = Rig([Poll(timeout=30 * MS)], lambda r, n: silent(r, n) if dumb[0] else QUICK(r, n))
    assert rig.run(50 * MS).bus.suspects() == [False]
    assert rig.run(1 * S).bus.suspects() == [True]
    dumb[0] = False
    assert rig.run(10 * S).bus.suspects() == [False]


# --- silences ---


def test_a_line_that_learns_silences_tells_them_and_another_one_its_t35(device, other_device, run, bus_on):
    learning = bus_on(device.path, gap="learned")
    plain = bus_on(other_device.path, name="plain", baud=9600)
    running = run(learning, plain)
    running.wait(lambda: all(stats.counts.ok for stats in running.acquisition.stats().values()))
    stats = running.acquisition.stats()
    silences = stats["rs485"].devices["unit1"].silences
    assert 0 < silences.kept <= stats["rs485"].silence_ms == 1.75
    assert silences.refused is None or silences.refused < 1.75
    assert stats["plain"].devices["unit1"].silences is None
    assert stats["plain"].silence_ms == pytest.approx(3.646, abs=0.001)


def test_a_silence_that_nothing_was_refused_after_is_none():
    assert silences_of(1_750_000, 0) == Silences(1.75, None)
    assert silences_of(300_000, 212_345) == Silences(0.3, 0.212345)


def test_a_link_keeps_no_silence(server, run, bus_on):
    running = run(bus_on(server(in_order).url, protocol="modbus-tcp"))
    running.wait(lambda: running.acquisition.stats()["rs485"].counts.ok)
    stats = running.acquisition.stats()["rs485"]
    assert (stats.silence_ms, stats.devices["unit1"].silences) == (None, None)
