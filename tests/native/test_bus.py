"""The policy of one bus: schedule, silences, failures, prediction, plans and ports."""

import itertools

import pytest
from bus_rig import (
    CHAR_NS,
    COMM_FAIL,
    EXCEPTION,
    GOOD,
    MS,
    QUICK,
    QUIET_NS,
    US,
    Poll,
    Rig,
    S,
    after,
    answer_to,
    asked,
    only,
    paced,
    plan_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import BLOCK
from wire import with_crc

from agent._native.busloop import BLOCK_BYTES, POINT_BYTES, VirtualBus
from agent._native.samples import Samples

# --- schedule ---


def test_polls_stay_on_the_grid_of_phase_and_period_for_ever() -> None:
    rig = Rig([Poll(period=100 * MS, phase=30 * MS)], QUICK).run(20 * S)
    assert [at for at, _ in rig.sent] == [30 * MS + k * 100 * MS for k in range(200)]
    assert rig.counts["overruns"] == 0


def test_what_cannot_be_polled_in_its_period_is_skipped_and_counted_not_queued() -> None:
    rig = Rig([Poll(period=20 * MS)], after(45 * MS)).run(10 * S)  # a transaction takes ~50 ms
    assert 190 <= len(rig.sent) <= 203
    assert rig.counts["overruns"] + len(rig.sent) == pytest.approx(10 * S / (20 * MS), abs=3)
    rig.answer = QUICK
    asked = len(rig.sent)
    rig.run(11 * S)
    assert len(rig.sent) - asked <= 51  # nothing was saved up


def test_the_poll_with_the_earliest_deadline_goes_first() -> None:
    rig = Rig([Poll(unit=1, period=90 * MS), Poll(unit=2, period=30 * MS), Poll(unit=3, period=60 * MS)], QUICK)
    rig.run(25 * MS)
    assert [request[0] for _, request in rig.sent] == [2, 3, 1]


def test_slow_polls_are_not_starved_by_a_bus_that_is_always_late() -> None:
    rig = Rig([Poll(unit=1, period=1 * US), Poll(unit=2, period=S)], QUICK).run(10 * S)
    assert len(rig.sent_to(2)) == 10
    assert len(rig.sent_to(1)) > 1000


def test_how_late_polls_go_is_told() -> None:
    in_time, by_6_ms = 0, 31  # classes: below 32 us, from 6144 us
    rig = Rig([Poll(unit=1), Poll(unit=2)], QUICK).run(10 * S)  # a transaction takes 6.4 ms
    lateness, _ = rig.bus.statistics()
    assert (lateness[in_time], lateness[by_6_ms], sum(lateness)) == (99, 99, 200)  # at first the line is listened to


def test_polls_that_are_always_due_take_turns() -> None:
    rig = Rig([Poll(unit=unit, period=1) for unit in (1, 2, 3)], QUICK).run(S)
    assert [request[0] for _, request in rig.sent][:9] == [1, 2, 3] * 3


def test_a_line_that_is_always_due_is_used_to_its_ceiling() -> None:
    rig = Rig([Poll(period=1)], QUICK).run(10 * S)
    ceiling = S / ((8 + 25) * CHAR_NS + 2 * QUIET_NS)
    assert rig.counts["ok"] >= 0.99 * ceiling * 10


# --- silence on the line ---


@given(delays=st.lists(st.integers(0, 30 * MS), min_size=1, max_size=20))
def test_t35_is_kept_after_the_last_byte_however_long_devices_take(delays: list[int]) -> None:
    rig = Rig([Poll(period=1)], lambda request, n: paced(answer_to(request), delays[n % len(delays)])).run(S)
    assert min(rig.waited) >= QUIET_NS
    assert len(rig.sent) > 10


def test_a_device_gets_the_gap_it_wants_while_others_are_polled() -> None:
    rig = Rig([Poll(unit=1, period=1, gap=50 * MS), Poll(unit=2, period=1)], QUICK).run(2 * S)
    slow = rig.sent_to(1)
    assert min(later - before for before, later in itertools.pairwise(slow)) >= 50 * MS
    assert len(rig.sent_to(2)) > 5 * len(slow)


def test_bytes_nobody_asked_for_are_read_away_before_a_request_and_counted_as_noise() -> None:
    rig = Rig([Poll(period=100 * MS)], QUICK)
    rig.put(95 * MS, b"\x01\x03\x02")
    rig.run(S)
    assert rig.counts["noise_bytes"] == 3
    assert rig.counts["ok"] == 10
    assert min(rig.waited) >= QUIET_NS


def test_an_answer_that_waited_on_the_line_before_the_request_is_none() -> None:
    rig = Rig([Poll(period=40 * MS, quantity=1)], QUICK).run(390 * MS)
    rig.put(395 * MS, with_crc(b"\x01\x03\x02\xff\xff"))
    rig.run(S)
    assert rig.wrong() == []
    assert (rig.counts["noise_bytes"], rig.counts["ok"]) == (7, 25)


@pytest.mark.parametrize("before_us", [0, 100, 1000, 1700])
def test_bytes_just_before_a_request_put_it_off_until_the_line_was_silent(before_us: int) -> None:
    rig = Rig([Poll(period=S)], QUICK).run(10 * S - 50 * MS)
    rig.put(10 * S - before_us * US, b"\x01")
    rig.run(20 * S)
    assert min(rig.waited) >= QUIET_NS
    assert rig.counts["ok"] == 20


def test_a_babbling_line_is_waited_for_but_not_for_ever() -> None:
    rig = Rig([Poll(period=50 * MS, timeout=50 * MS)])
    for at in range(2000):
        rig.put(at * MS, b"\x55")
    rig.run(2 * S)
    assert 2 <= len(rig.sent) <= 5
    assert {sample.quality for sample in rig.samples} == {COMM_FAIL}


# --- failures ---


def test_an_exception_is_told_with_its_code_and_costs_no_timeout() -> None:
    refusal = with_crc(bytes([1, 0x83, 2]))
    rig = Rig([Poll(period=10 * MS)], lambda *_: paced(refusal, QUIET_NS)).run(S)
    assert {(sample.quality, sample.detail, sample.value) for sample in rig.samples} == {(EXCEPTION, 2, 0)}
    assert rig.counts["exceptions"] == 100
    assert len(rig.samples) == 1000


@pytest.mark.parametrize("quantity", [1, 10, 125])
@pytest.mark.parametrize("answered", [0, 100, 1000])
def test_an_exception_is_handled_when_its_last_byte_is_there(quantity: int, answered: int) -> None:
    """Only the first one after answers waits for as long as one more of these would have taken."""
    refusal = with_crc(bytes([1, 0x83, 4]))
    rig = Rig(
        [Poll(period=1, quantity=quantity)],
        lambda request, n: QUICK(request, n) if n < answered else paced(refusal, QUIET_NS),
        ring_bits=17,
    )
    rig.run(100 * S if answered == 1000 else 10 * S)
    handled = [sample.time_ns for sample in rig.samples if sample.quality == EXCEPTION][::quantity]
    complete = [at + (8 + len(refusal)) * CHAR_NS + QUIET_NS for at, _ in rig.sent[answered:]]
    late = [after - before for after, before in zip(handled, complete, strict=False)]
    assert len(late) > 100
    assert max(late[1:]) <= 1 * US
    assert late[0] <= 2 * quantity * CHAR_NS + MS


def test_every_request_counts_as_a_transaction_whatever_becomes_of_it() -> None:
    rig = Rig(
        [Poll(quantity=1, period=20 * MS, timeout=15 * MS)], lambda request, n: QUICK(request, n) if n % 7 else []
    )
    rig.run(10 * S)
    assert rig.counts["barriers"] > 0
    assert rig.counts["transactions"] == len(rig.sent)
    assert rig.counts["bytes_sent"] == sum(len(request) for _, request in rig.sent)
    assert rig.counts["timeouts"] == pytest.approx(len(rig.sent) / 7, abs=1)


def test_every_unanswered_poll_fails_all_its_tags() -> None:
    rig = Rig([Poll(period=500 * MS, quantity=3)]).run(S)
    assert [(sample.tag, sample.quality) for sample in rig.samples] == [(1000 + at, COMM_FAIL) for at in (0, 1, 2)] * 2
    assert rig.counts["timeouts"] == 2


def test_a_damaged_answer_costs_a_moment_of_silence_not_the_timeout() -> None:
    def second_damaged(request: bytes, number: int) -> list[tuple[int, bytes]]:
        answer = answer_to(request)
        return paced(answer[:-1] + bytes([answer[-1] ^ 1]) if number == 1 else answer, QUIET_NS)

    rig = Rig([Poll(period=1, timeout=300 * MS)], second_damaged).run(S)
    assert rig.counts["crc_errors"] == 1
    assert rig.counts["timeouts"] == 0
    assert rig.sent[2][0] - rig.sent[1][0] < 40 * MS
    assert [sample.quality for sample in rig.samples[10:21]] == [COMM_FAIL] * 10 + [GOOD]


def test_an_answer_soon_behind_a_damaged_one_still_counts() -> None:
    def twice(request: bytes, number: int) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        damaged = [(QUIET_NS, whole[:-1] + bytes([whole[-1] ^ 1]))] if number else []  # the first one tells: no echo
        return [*damaged, (QUIET_NS + 15 * MS, whole)]

    rig = Rig([Poll(period=50 * MS)], twice).run(S)
    assert (rig.counts["ok"], rig.counts["crc_errors"]) == (20, 19)


def test_an_answer_that_stops_in_the_middle_costs_its_silence_not_the_timeout() -> None:
    def cut(request: bytes, number: int) -> list[tuple[int, bytes]]:
        return paced(answer_to(request)[: 12 if number == 100 else None], QUIET_NS)

    rig = Rig([Poll(period=1, timeout=300 * MS)], cut, ring_bits=14).run(2 * S)
    assert rig.sent[101][0] - rig.sent[100][0] < 20 * MS
    assert asked(rig)[101] == "1/3@0x10"  # it came, as far as it did, and comes no more


def test_an_adapter_that_holds_bytes_back_is_not_taken_for_a_cut() -> None:
    """62 bytes at a time, the rest 16 ms later; short blocks first, which never show it."""

    def held(request: bytes) -> list[tuple[int, bytes]]:
        return [(2 * MS, answer_to(request)[:62]), (19 * MS, answer_to(request)[62:])]

    polls = [Poll(period=50 * MS), Poll(period=50 * MS, phase=5 * S, address=50, quantity=60)]
    rig = Rig(polls, lambda request, _: held(request), ring_bits=14).run(20 * S)
    assert rig.counts["timeouts"] == 0
    assert rig.counts["ok"] == 700


def test_every_damaged_answer_is_followed_by_a_quiet_line() -> None:
    """The rest of it may come as late as the adapter has been seen to hold bytes back."""

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        damaged = bytes([*whole[:5], whole[5] ^ 1, *whole[6:]]) if number % 20 == 19 else whole
        return [(2 * MS, damaged[:16]), (14 * MS, damaged[16:])]

    rig = Rig([Poll(period=1)], answer, ring_bits=14).run(10 * S)
    pauses = rig.waited
    assert min(pauses[20::20]) >= 10 * MS > 3 * QUIET_NS > min(pauses)


@given(
    delays=st.lists(st.integers(0, 500 * MS), min_size=1, max_size=12),
    addresses=st.lists(st.integers(0, 100), min_size=1, max_size=3, unique=True),
)
def test_a_late_answer_is_never_taken_for_the_next_ones(delays: list[int], addresses: list[int]) -> None:
    polls = [Poll(period=20 * MS, address=address, timeout=100 * MS) for address in addresses]

    def late(request: bytes, n: int) -> list[tuple[int, bytes]]:
        return paced(answer_to(request), delays[n % len(delays)] % (340 * MS))

    rig = Rig(polls, late).run(5 * S)
    assert rig.wrong() == []


@given(
    damage=st.lists(
        st.sampled_from(["", "", "", "drop", "cut", "flip", "glitch", "tail", "unit"]), min_size=1, max_size=30
    )
)
def test_damage_of_any_kind_never_makes_a_wrong_value(damage: list[str]) -> None:
    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        kinds = {
            "": whole,
            "drop": b"",
            "cut": whole[: len(whole) // 2],
            "flip": whole[:4] + bytes([whole[4] ^ 0x10]) + whole[5:],
            "glitch": b"\x00" + whole,
            "tail": whole + b"\x00\x00",
            "unit": answer_to(bytes([request[0] ^ 2]) + request[1:]),
        }
        return paced(kinds[damage[number % len(damage)]], QUIET_NS)

    rig = Rig([Poll(period=1, address=7, timeout=30 * MS), Poll(period=1, address=90, timeout=30 * MS)], answer)
    rig.run(5 * S)
    assert rig.wrong() == []
    if not set(damage) & {"drop", "cut", "flip", "unit"}:
        assert rig.counts["timeouts"] == rig.counts["crc_errors"] == 0


# --- prediction ---


def test_a_steady_device_is_looked_at_about_once_an_answer_when_it_is_complete() -> None:
    rig = Rig([Poll(period=1, quantity=60)], after(3 * MS)).run(2 * S)
    before, asked = rig.looks, len(rig.sent)
    rig.run(20 * S)
    transactions = len(rig.sent) - asked
    assert (rig.looks - before) / transactions < 2.3  # one before each request, one for its answer, few too early
    ceiling = 18 * S / ((8 + 125) * CHAR_NS + 3 * MS + QUIET_NS)
    assert transactions >= 0.99 * ceiling


@given(jitter=st.lists(st.integers(0, 20 * MS), min_size=3, max_size=50))
@settings(max_examples=25)
def test_a_device_that_jitters_is_watched_so_that_its_answers_are_not_waited_for_too_long(jitter: list[int]) -> None:
    delays = [2 * MS + each for each in jitter]
    rig = Rig([Poll(period=1)], lambda request, n: paced(answer_to(request), delays[n % len(delays)]), ring_bits=14)
    rig.run(10 * S)
    mean = sum(delays) / len(delays)
    ceiling = 10 * S / ((8 + 25) * CHAR_NS + mean + QUIET_NS)
    assert rig.counts["ok"] >= 0.95 * ceiling


def test_a_device_that_got_quicker_is_learned_anew() -> None:
    rig = Rig([Poll(period=1)], after(9 * MS)).run(2 * S)
    rig.answer = after(2 * MS)
    rig.run(8 * S)  # the next check comes within 256 transactions
    asked = len(rig.sent)
    rig.run(18 * S)
    assert len(rig.sent) - asked >= 0.99 * 10 * S / ((8 + 25) * CHAR_NS + 2 * MS + QUIET_NS)


def test_a_device_that_got_slower_is_learned_anew() -> None:
    rig = Rig([Poll(period=1)], after(2 * MS)).run(2 * S)
    rig.answer = after(9 * MS)
    rig.run(2 * S + 500 * MS)
    before, asked = rig.looks, len(rig.sent)
    rig.run(10 * S)
    assert (rig.looks - before) / (len(rig.sent) - asked) < 2.3
    assert rig.counts["timeouts"] == 0


@given(cuts=st.lists(st.tuples(st.integers(1, 24), st.integers(0, 5 * MS)), max_size=8))
def test_any_chunking_gives_the_same_samples(cuts: list[tuple[int, int]]) -> None:
    def chunked(request: bytes, _number: int) -> list[tuple[int, bytes]]:
        whole, at = answer_to(request), 2 * MS
        pieces = []
        for start, end in zip([0, *(cut for cut, _ in cuts)], [*(cut for cut, _ in cuts), len(whole)], strict=True):
            pieces.append((at, whole[start:end]))
            at += 1 * MS
        return pieces

    cuts = sorted(dict(cuts).items())
    rig = Rig([Poll(period=100 * MS)], chunked).run(S)
    assert [(sample.tag, sample.value) for sample in rig.samples] == [(1000 + at, 1000 + at) for at in range(10)] * 10


def test_a_bus_says_until_when_it_can_wait_and_what_for() -> None:
    slack_ns = QUIET_NS // 16
    idle = Rig([Poll(period=100 * MS)], QUICK).run(50 * MS)
    assert idle.bus.wish() == (slack_ns, 100 * MS, False)
    busy = Rig([Poll(period=1)], QUICK)
    while len(busy.samples) == 0:
        busy.run(busy.now + MS)
    heard = busy.last_byte
    assert busy.bus.wish() == (slack_ns, heard + QUIET_NS, True)  # a request waits for the silence alone


# --- plans and ports ---


def test_without_a_port_every_tag_fails_once_and_nothing_is_sent() -> None:
    rig = Rig([Poll(period=100 * MS), Poll(unit=2, period=S)], QUICK).run(500 * MS)
    sent = len(rig.sent)
    rig.bus.detach(rig.now)
    rig.samples = []
    rig.run(5 * S)
    assert len(rig.sent) == sent
    assert sorted(sample.tag for sample in rig.samples) == [*range(1000, 1010), *range(2000, 2010)]
    assert {sample.quality for sample in rig.samples} == {COMM_FAIL}


def test_a_port_that_is_back_is_polled_at_once_and_nothing_counts_as_overrun() -> None:
    rig = Rig([Poll(period=10 * S)], QUICK).run(S)
    rig.bus.detach(rig.now)
    rig.run(35 * S)
    rig.bus.attach(rig.now)
    rig.wake = rig.now
    rig.run(51 * S)
    assert [at // S for at, _ in rig.sent] == [0, 35, 40, 50]
    assert rig.counts["overruns"] == 0


def test_a_ring_that_nobody_drains_drops_the_newest_and_counts_them() -> None:
    rig = Rig([Poll(period=10 * MS)], QUICK, ring_bits=6)
    rig._drain = lambda: None
    rig.run(S)
    samples = Samples()
    rig.bus.drain(samples)
    assert len(samples) == 60
    assert rig.bus.counters()[2] == 1000 - 60


@pytest.mark.parametrize(
    "bad",
    [
        Poll(period=0),
        Poll(timeout=0),
        Poll(gap=-1),
        Poll(phase=-1),
        Poll(device=7),
        Poll(quantity=126),
    ],
    ids=str,
)
def test_a_plan_that_cannot_run_is_refused_by_its_number(bad: Poll) -> None:
    with pytest.raises(ValueError, match="block 1 "):
        VirtualBus().adopt(*plan_of([Poll(), bad]), now=0)


def test_torn_plans_are_refused() -> None:
    blocks, points, devices = plan_of([Poll()])
    with pytest.raises(ValueError, match="whole blocks"):
        VirtualBus().adopt(blocks[:-1], points, devices, now=0)
    with pytest.raises(ValueError, match="block 0 "):
        VirtualBus().adopt(blocks, points[:-POINT_BYTES], devices, now=0)
    assert len(blocks) == BLOCK_BYTES


def test_a_plan_that_reads_more_than_an_answer_holds_is_refused() -> None:
    blocks, points, devices = plan_of([Poll()])
    lying = [*BLOCK.unpack(blocks)]
    lying[-3] = 1000  # registers, beside a request and an answer of 10
    with pytest.raises(ValueError, match="block 0 "):
        VirtualBus().adopt(BLOCK.pack(*lying), points, devices, now=0)


def test_counters_of_devices_add_up_to_those_of_the_bus() -> None:
    rig = Rig([Poll(unit=unit, period=50 * MS, timeout=20 * MS) for unit in (1, 2, 3)], only(1, 3)).run(5 * S)
    totals = [sum(column) for column in zip(*rig.bus.counters()[1], strict=True)]
    assert totals == list(rig.bus.counters()[0])
    assert 0 < rig.counts["busy_ns"] < 5 * S
