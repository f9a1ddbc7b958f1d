import heapq
import itertools
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import BLOCK, POINT, Sample, records
from wire import with_crc

from agent._native.busloop import BLOCK_BYTES, COUNTERS, POINT_BYTES, VirtualBus
from agent._native.samples import Samples

US = 1_000
MS = 1_000_000
S = 1_000_000_000
CHAR_NS = 86_805  # 115200 baud, 8N1
QUIET_NS = 1_750_000
FIFO_BYTES = 16
U16 = 1
GOOD, COMM_FAIL, EXCEPTION = 0, 2, 3
LOOP_BACK = 8


Answer = Callable[[bytes, int], list[tuple[int, bytes]]]


class Poll(NamedTuple):
    """One block of the plan; every register becomes one tag, whose number is 1000 * unit + address + register."""

    unit: int = 1
    period: int = 100 * MS
    address: int = 0
    quantity: int = 10
    phase: int = 0
    timeout: int = 300 * MS
    gap: int = 0
    device: int | None = None


def plan_of(polls: list[Poll], *, tcp: bool = False) -> tuple[bytes, bytes, int]:
    blocks, points = [], []
    units = sorted({poll.unit for poll in polls})
    for group, poll in enumerate(polls):
        pdu = struct.pack(">BHH", 3, poll.address, poll.quantity)
        request = bytes([poll.unit]) + pdu
        adu = struct.pack(">HHH", 0, 0, 6) + request if tcp else with_crc(request)
        blocks.append(
            BLOCK.pack(
                poll.period,
                poll.phase,
                poll.timeout,
                poll.gap,
                group,
                units.index(poll.unit) if poll.device is None else poll.device,
                len(points),
                poll.quantity,
                len(adu),
                (9 if tcp else 5) + 2 * poll.quantity,
                poll.unit,
                3,
                poll.address,
                poll.quantity,
                adu,
            )
        )
        points += [POINT.pack(1000 * poll.unit + poll.address + at, at, 1, U16, 0, 0, 0) for at in range(poll.quantity)]
    return b"".join(blocks), b"".join(points), len(units)


def answer_to(request: bytes, value: Callable[[int, int], int] = lambda unit, address: 1000 * unit + address) -> bytes:
    """The right answer: by default every register's value is the number of its tag; a loop-back is its own."""
    if request[1] == LOOP_BACK:
        return request
    unit, function, address, quantity = struct.unpack_from(">BBHH", request)
    payload = b"".join(struct.pack(">H", value(unit, address + at)) for at in range(quantity))
    frame = bytes([unit, function, len(payload)]) + payload
    return with_crc(frame)


def after(delay_ns: int) -> Answer:
    """A device that answers so long after the end of the request, at the line's pace."""
    return lambda request, _: paced(answer_to(request), delay_ns)


def paced(answer: bytes, delay_ns: int) -> list[tuple[int, bytes]]:
    ends = range(FIFO_BYTES, len(answer) + FIFO_BYTES, FIFO_BYTES)
    return [(delay_ns + min(end, len(answer)) * CHAR_NS, answer[end - FIFO_BYTES : end]) for end in ends]


def silent(_request: bytes, _number: int) -> list[tuple[int, bytes]]:
    return []


class Rig:
    """A bus, a line and devices in virtual time. `answer(request, number)` gives (delay after the request, bytes)."""

    def __init__(self, polls: list[Poll], answer: Answer = silent, *, tcp: bool = False, ring_bits: int = 12) -> None:
        self.char_ns = 0 if tcp else CHAR_NS
        self.bus = VirtualBus(tcp=tcp, char_ns=self.char_ns, quiet_ns=0 if tcp else QUIET_NS, ring_bits=ring_bits)
        self.answer = answer
        self.now = 0
        self.sent: list[tuple[int, bytes]] = []
        self.heard_until: list[int] = []  # when the last byte before each request was on the line
        self.looks = 0
        self.arrivals: list[tuple[int, int, bytes]] = []
        self.waiting = b""
        self.last_byte = -S
        self.samples: list[Sample] = []
        self.bus.adopt(*plan_of(polls, tcp=tcp), now=0)
        self.bus.attach(0)
        self.wake, self.watch = 0, False

    def put(self, at: int, data: bytes) -> None:
        heapq.heappush(self.arrivals, (at, len(self.sent), data))

    def run(self, until: int) -> "Rig":
        while (event := self._next_event()) < until:
            self.now = max(self.now, event)
            self._arrive()
            self._step()
        self.now = until
        self._drain()
        return self

    def _next_event(self) -> int:
        if self.watch and self.waiting:
            return self.now
        heard = self.arrivals[0][0] if self.watch and self.arrivals else self.wake
        return min(self.wake, heard)

    def _arrive(self) -> None:
        while self.arrivals and self.arrivals[0][0] <= self.now:
            at, _, data = heapq.heappop(self.arrivals)
            self.waiting += data
            self.last_byte = at

    def _step(self) -> None:
        received = self._take() if self.watch and self.waiting else None
        what, request, self.wake, self.watch = self.bus.step(self.now, received)
        if what == "look":
            what, request, self.wake, self.watch = self.bus.step(self.now, self._take())
        if what == "send":
            self._send(request)
        self._drain()

    def _take(self) -> bytes:
        self.looks += 1
        taken, self.waiting = self.waiting, b""
        return taken

    def _send(self, request: bytes) -> None:
        self.heard_until.append(self.last_byte)
        self.sent.append((self.now, request))
        end = self.now + len(request) * self.char_ns
        for delay, data in self.answer(request, len(self.sent) - 1):
            self.put(end + delay, data)

    def _drain(self) -> None:
        samples = Samples()
        self.bus.drain(samples)
        self.samples += records(samples)

    @property
    def counts(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self.bus.counters()[0], strict=True))

    def device_counts(self, device: int) -> dict[str, int]:
        return dict(zip(COUNTERS, self.bus.counters()[1][device], strict=True))

    def sent_to(self, unit: int) -> list[int]:
        return [at for at, request in self.sent if request[0] == unit]

    def good(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.quality == GOOD]

    def wrong(self) -> list[Sample]:
        return [sample for sample in self.good() if sample.value != sample.tag]


QUICK = after(QUIET_NS)


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


def test_polls_that_are_always_due_take_turns() -> None:
    rig = Rig([Poll(unit=unit, period=1) for unit in (1, 2, 3)], QUICK).run(S)
    assert [request[0] for _, request in rig.sent][:9] == [1, 2, 3] * 3


def test_a_line_that_is_always_due_is_used_to_its_ceiling() -> None:
    rig = Rig([Poll(period=1)], QUICK).run(10 * S)
    ceiling = S / ((8 + 25) * CHAR_NS + 2 * QUIET_NS)
    assert rig.counts["ok"] >= 0.99 * ceiling * 10


# --- silence on the line ---


@given(delays=st.lists(st.integers(0, 30 * MS), min_size=1, max_size=20))
@settings(deadline=None)
def test_t35_is_kept_after_the_last_byte_however_long_devices_take(delays: list[int]) -> None:
    rig = Rig([Poll(period=1)], lambda request, n: paced(answer_to(request), delays[n % len(delays)])).run(S)
    assert all(at - heard >= QUIET_NS for (at, _), heard in zip(rig.sent, rig.heard_until, strict=True))
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
    assert all(at - heard >= QUIET_NS for (at, _), heard in zip(rig.sent, rig.heard_until, strict=True))


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


def test_every_unanswered_poll_fails_all_its_tags() -> None:
    rig = Rig([Poll(period=500 * MS, quantity=3)]).run(S)
    assert [(sample.tag, sample.quality) for sample in rig.samples] == [(1000 + at, COMM_FAIL) for at in (0, 1, 2)] * 2
    assert rig.counts["timeouts"] == 2


def test_a_damaged_answer_costs_a_moment_of_silence_not_the_timeout() -> None:
    def damaged_first(request: bytes, number: int) -> list[tuple[int, bytes]]:
        answer = answer_to(request)
        return paced(answer if number else answer[:-1] + bytes([answer[-1] ^ 1]), QUIET_NS)

    rig = Rig([Poll(period=1, timeout=300 * MS)], damaged_first).run(S)
    assert rig.counts["crc_errors"] == 1
    assert rig.counts["timeouts"] == 0
    assert rig.sent[1][0] < 40 * MS
    assert [sample.quality for sample in rig.samples[:11]] == [COMM_FAIL] * 10 + [GOOD]


@given(
    delays=st.lists(st.integers(0, 500 * MS), min_size=1, max_size=12),
    addresses=st.lists(st.integers(0, 100), min_size=1, max_size=3, unique=True),
)
@settings(deadline=None)
def test_a_late_answer_is_never_taken_for_the_next_ones(delays: list[int], addresses: list[int]) -> None:
    polls = [Poll(period=20 * MS, address=address, timeout=100 * MS) for address in addresses]
    late = lambda request, n: paced(answer_to(request), delays[n % len(delays)] % (340 * MS))  # noqa: E731
    rig = Rig(polls, late).run(5 * S)
    assert rig.wrong() == []


@given(
    damage=st.lists(
        st.sampled_from(["", "", "", "drop", "cut", "flip", "glitch", "tail", "unit"]), min_size=1, max_size=30
    )
)
@settings(deadline=None)
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


# --- dead devices ---


def only(*units: int) -> Answer:
    return lambda request, _: paced(answer_to(request), QUIET_NS) if request[0] in units else []


def test_one_dead_device_costs_its_neighbours_little() -> None:
    polls = [Poll(unit=unit, period=1) for unit in range(1, 9)]
    healthy = Rig(polls, QUICK, ring_bits=16).run(60 * S).counts["ok"]
    one_dead = Rig(polls, only(1, 2, 3, 4, 5, 6, 7), ring_bits=16).run(60 * S)
    assert one_dead.counts["ok"] >= 0.95 * healthy
    assert one_dead.device_counts(7)["timeouts"] >= 3


def test_a_dead_device_fails_all_its_tags_also_those_that_were_not_asked_for() -> None:
    polls = [Poll(period=100 * MS), Poll(period=3600 * S, address=50, phase=3000 * S)]
    rig = Rig(polls).run(5 * S)
    assert {sample.tag for sample in rig.samples if sample.quality == COMM_FAIL} == {
        1000 + at for at in (*range(10), *range(50, 60))
    }


def test_a_device_that_comes_back_is_polled_at_its_full_rate_at_once() -> None:
    rig = Rig([Poll(period=100 * MS)]).run(10 * S)
    probes = len(rig.sent)
    assert probes <= 6
    overruns = rig.counts["overruns"]
    rig.answer = QUICK
    rig.run(80 * S)
    back = next(at for at, _ in rig.sent[probes:])
    assert len([at for at, _ in rig.sent if back <= at < back + S]) in (10, 11)
    assert rig.counts["overruns"] == overruns


def test_a_device_that_answers_with_noise_is_not_dead() -> None:
    rig = Rig([Poll(period=S, timeout=50 * MS)], lambda *_: [(QUIET_NS, b"\xff\x00")]).run(60 * S)
    assert len(rig.sent) == 60


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
@settings(deadline=None, max_examples=25)
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
@settings(deadline=None)
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


# --- TCP ---


def tcp_answer(request: bytes, transaction: int | None = None) -> bytes:
    number = struct.unpack_from(">H", request)[0] if transaction is None else transaction
    body = answer_to(request[6:])[:-2]
    return struct.pack(">HHH", number, 0, len(body)) + body


def test_over_tcp_every_request_has_its_own_transaction_number() -> None:
    rig = Rig([Poll(period=10 * MS)], lambda request, _: [(MS, tcp_answer(request))], tcp=True).run(S)
    assert [struct.unpack_from(">H", request)[0] for _, request in rig.sent] == list(range(1, 101))
    assert rig.counts["ok"] == 100


def test_over_tcp_an_answer_of_another_transaction_is_not_taken() -> None:
    wrong = lambda request, n: [(MS, tcp_answer(request, transaction=n))]  # noqa: E731
    rig = Rig([Poll(period=100 * MS, timeout=50 * MS)], wrong, tcp=True).run(S)
    assert rig.counts["ok"] == 0
    assert rig.counts["timeouts"] >= 3


# --- plans and ports ---


def test_a_new_plan_starts_at_once_and_never_gets_an_answer_of_the_old_one() -> None:
    rig = Rig([Poll(period=10 * MS, address=1)], after(50 * MS)).run(20 * MS)
    assert len(rig.sent) == 1
    assert rig.samples == []
    rig.bus.adopt(*plan_of([Poll(period=10 * MS, address=300)]), now=rig.now)
    rig.wake = rig.now
    rig.run(S)
    assert rig.wrong() == []
    assert {sample.tag for sample in rig.samples} == {1300 + at for at in range(10)}
    assert rig.sent[1][0] < 60 * MS  # the old answer was waited for, not its whole timeout


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
    rig._drain = lambda: None  # type: ignore[method-assign]
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


def test_counters_of_devices_add_up_to_those_of_the_bus() -> None:
    rig = Rig([Poll(unit=unit, period=50 * MS, timeout=20 * MS) for unit in (1, 2, 3)], only(1, 3)).run(5 * S)
    totals = [sum(column) for column in zip(*rig.bus.counters()[1], strict=True)]
    assert totals == list(rig.bus.counters()[0])
    assert 0 < rig.counts["busy_ns"] < 5 * S
