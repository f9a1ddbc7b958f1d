import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from links import EXCEPTION, MS, LinkRig, Poll, Request, S, after, answer_to, frame

QUICK = after(5 * MS)
MANY = [Poll(address=10 * at) for at in range(16)]


def blocks_of(rig: LinkRig) -> list[tuple[int, int]]:
    return [(request.unit, request.address) for request in rig.sent]


# --- schedule ---


def test_polls_stay_on_the_grid_of_phase_and_period_for_ever() -> None:
    rig = LinkRig([Poll(period=100 * MS, phase=30 * MS)], QUICK).run(20 * S)
    assert [request.at for request in rig.sent] == [30 * MS + k * 100 * MS for k in range(200)]
    assert rig.counts["overruns"] == 0
    lateness, [(round_trips, _, mishap)] = rig.link.statistics()
    assert (lateness[0], sum(lateness), sum(round_trips), round_trips[0], mishap[1]) == (200, 200, 200, 0, 0)


def test_where_not_all_can_go_at_once_the_most_urgent_poll_goes_first() -> None:
    slow = [Poll(address=10 * at, period=1 * S) for at in range(1, 5)]
    rig = LinkRig([*slow, Poll(address=0, period=20 * MS)], after(10 * MS), in_flight=1).run(2 * S)
    quick = [request.at for request in rig.sent if request.address == 0]
    gaps = [later - earlier for earlier, later in itertools.pairwise(quick)]
    assert max(gaps) <= 30 * MS
    assert {request.address for request in rig.sent} == set(range(0, 50, 10))


def test_a_device_that_wants_a_gap_is_asked_for_one_thing_at_a_time() -> None:
    polls = [Poll(unit=1, address=10 * at, gap=20 * MS) for at in range(4)]
    polls += [Poll(unit=2, address=10 * at) for at in range(4)]
    rig = LinkRig(polls, QUICK, in_flight=16).run(2 * S)
    gapped = [request.at for request in rig.sent if request.unit == 1]
    assert min(later - earlier for earlier, later in itertools.pairwise(gapped)) >= 25 * MS
    assert rig.most_under_way > 2
    assert rig.counts["overruns"] == 0


def test_where_a_silence_is_wanted_before_each_request_one_goes_at_a_time() -> None:
    rig = LinkRig(MANY, QUICK, in_flight=16, quiet_ns=3 * MS).run(5 * S)
    times = [request.at for request in rig.sent]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) == 8 * MS
    assert rig.most_under_way == 1


# --- never a wrong value ---


def chopped(random_: random.Random) -> Callable[[bytes], Iterator[bytes]]:
    def cut(data: bytes) -> Iterator[bytes]:
        while data:
            size = random_.choice((1, 2, 5, 32, len(data)))
            yield data[:size]
            data = data[size:]

    return cut


class Device:
    """A gateway whose answers are late, lost, doubled, swapped or mislabelled, by chance, and that stops in the middle
    of one: then nothing comes on this connection any more, as a TCP stream has no holes.
    """

    def __init__(self, seed: int, faults: frozenset[str], rig: LinkRig) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.rig = rig
        self.stopped = -1  # the connection on which nothing comes any more
        self.last: Request | None = None

    def __call__(self, request: Request) -> list[tuple[int, bytes]]:
        if self.stopped == self.rig.connection:
            return []
        delay = self.random.randrange(1, 20) * MS if "swap" in self.faults else 5 * MS
        whole = answer_to(request, self._length_error())
        before, self.last = self.last or request, request
        chosen = self.random.choice((*sorted(self.faults), *["none"] * 8))
        return [(delay + more, data) for more, data in getattr(self, f"_{chosen}", self._none)(request, before, whole)]

    def _none(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return [(0, whole)]

    def _drop(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return []

    def _late(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return [(self.random.randrange(300, 900) * MS, whole)]

    def _double(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return [(0, whole), (self.random.randrange(400) * MS, whole)]

    def _foreign(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        far = request.transaction + self.random.randrange(1000, 60_000)  # a number that nobody uses now
        return [(0, answer_to(request._replace(transaction=far & 0xFFFF, number=-1)))]

    def _other(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return [(0, answer_to(before._replace(transaction=request.transaction, unit=before.unit ^ 0x40)))]

    def _size(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return [(0, answer_to(request._replace(quantity=request.quantity + 1)))]

    def _cut(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        self.stopped = self.rig.connection
        self.rig.silence_after(self.rig.now)
        return [(0, whole[: self.random.randrange(len(whole))])]

    def _noise(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return [(0, self.random.randbytes(self.random.randrange(1, 40)) + whole)]

    def _short_length(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        return [(0, answer_to(request, -1)[:-1])]

    def _exception(self, request: Request, before: Request, whole: bytes) -> list[tuple[int, bytes]]:
        unit = self.random.choice((request.unit, 0xFF))
        return [(0, frame(request.transaction, unit, bytes([request.function | 0x80, 4])))]

    def _length_error(self) -> int:
        return self.random.choice((0, 1, 6)) if "excess" in self.faults else 0


FAULTS = (
    "late", "drop", "double", "foreign", "other", "size", "cut", "noise", "short_length", "exception", "swap", "excess",
)  # fmt: skip


def adds_up(rig: LinkRig) -> bool:
    counts = rig.counts
    ended = counts["ok"] + counts["exceptions"] + counts["timeouts"]
    per_device = [rig.device_counts(device) for device in range(2)]
    sums = all(sum(each[name] for each in per_device) == counts[name] for name in ("transactions", "ok", "timeouts"))
    return counts["transactions"] == len(rig.sent) == ended + rig.link.under_way() and sums


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    faults=st.frozensets(st.sampled_from(FAULTS)),
    width=st.sampled_from((1, 2, 4, 16)),
    chop=st.booleans(),
)
def test_whatever_comes_in_whatever_pieces_no_answer_is_taken_for_another(
    seed: int, faults: frozenset[str], width: int, chop: bool
) -> None:
    polls = [Poll(unit=unit, address=10 * at, quantity=1 + at % 3) for unit in (1, 2) for at in range(8)]
    rig = LinkRig(polls, in_flight=width)
    rig.answer = Device(seed, faults, rig)
    if chop:
        rig.cut = chopped(random.Random(seed))
    rig.run(10 * S)
    assert rig.wrong == []
    assert adds_up(rig)
    assert rig.counts["ok"] > 0 or faults


@pytest.mark.parametrize("seed", range(10))
def test_after_all_of_that_a_device_that_behaves_is_read_as_ever(seed: int) -> None:
    rig = LinkRig(MANY, in_flight=16)
    rig.answer = Device(seed, frozenset(FAULTS), rig)
    rig.run(30 * S)
    rig.answer = QUICK
    rig.run(130 * S)
    before = rig.counts
    rig.run(140 * S)
    assert rig.counts["ok"] - before["ok"] == pytest.approx(1600, abs=32)
    assert rig.counts["timeouts"] == before["timeouts"]


@given(
    st.lists(st.sampled_from(("whole", "excess", "other", "foreign", "noise", "wrong-size")), min_size=4, max_size=4),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_pieces_make_no_difference(kinds: list[str], sizes: list[int]) -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        whole = answer_to(request, 6 if kinds[request.number % 4] == "excess" else 0)
        before = {
            "other": frame(request.transaction, 9, b"\x03\x02\x00\x01"),
            "foreign": frame(request.transaction ^ 0x5555, 1, b"\x03\x02\x00\x01"),
            "noise": b"\xff\x00\xff",
            "wrong-size": frame(request.transaction, 1, b"\x03\x02\x00\x01"),
        }
        return [(5 * MS, before.get(kinds[request.number % 4], b"") + whole)]

    def cut(data: bytes) -> Iterator[bytes]:
        for size in itertools.cycle(sizes):
            if not data:
                return
            yield data[:size]
            data = data[size:]

    rigs = [LinkRig([Poll(address=10 * at, phase=S) for at in range(4)], answer, in_flight=4) for _ in range(2)]
    rigs[1].cut = cut
    for rig in rigs:
        rig.run(S + 80 * MS)
    assert rigs[0].counts == rigs[1].counts
    assert rigs[0].quirks == rigs[1].quirks
    assert rigs[0].samples == rigs[1].samples


def test_a_number_whose_answer_is_still_to_come_is_not_used_again() -> None:
    lost = Request(0, 0, 0, 0, 0, 0, 0)

    def answer(request: Request) -> list[tuple[int, bytes]]:
        nonlocal lost
        if request.number == 100:
            lost = request
            return []
        return QUICK(request)

    rig = LinkRig([Poll(period=1 * MS, timeout=20 * MS)], after(0), in_flight=1)
    rig.answer = lambda request: answer(request) if request.number <= 100 else [(0, answer_to(request))]
    rig.run(67 * S)
    assert len(rig.sent) > 66_000
    assert [request.number for request in rig.sent if request.transaction == lost.transaction] == [100]


# --- liberties that devices take ---


@pytest.mark.parametrize("excess", [1, 6])
@pytest.mark.parametrize("padded", [False, True])
def test_a_length_field_that_is_too_large_as_seen_in_the_field_is_lived_with(excess: int, padded: bool) -> None:
    padding = bytes(excess if padded else 0)
    rig = LinkRig(MANY, lambda request: [(5 * MS, answer_to(request, excess) + padding)]).run(5 * S)
    assert rig.counts["timeouts"] == 0
    assert rig.quirks["odd_lengths"] == rig.counts["ok"] > 100
    assert rig.quirks["noise_bytes"] == rig.counts["noise_bytes"]
    assert rig.counts["noise_bytes"] == pytest.approx(len(padding) * rig.counts["ok"], abs=excess)


@pytest.mark.parametrize("excess", [-6, -1, 2, 5, 7, 200])
def test_any_other_length_is_a_lie_and_the_next_answer_is_found_behind_it(excess: int) -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        return [(5 * MS, answer_to(request, excess if request.number % 10 == 5 else 0))]

    rig = LinkRig([Poll()], answer).run(20 * S)
    assert rig.wrong == []
    assert rig.counts["timeouts"] == pytest.approx(len(rig.sent) / 10, abs=1)
    assert rig.counts["noise_bytes"] > 0


def test_an_exception_with_unit_ff_ends_its_request() -> None:
    rig = LinkRig([Poll(quantity=1)], lambda request: [(MS, frame(request.transaction, 0xFF, b"\x83\x02"))]).run(S)
    assert rig.counts["exceptions"] == rig.counts["transactions"] == 10
    assert {(sample.quality, sample.detail) for sample in rig.samples} == {(EXCEPTION, 2)}
    _, [(_, _, (time_ns, kind, detail, heard, asked))] = rig.link.statistics()
    assert (time_ns, kind, detail, heard[6:], asked) == (901 * MS, 5, 2, b"\xff\x83\x02", (1, 3, 0, 1))


def test_an_answer_with_unit_ff_is_none() -> None:
    rig = LinkRig([Poll()], lambda request: [(MS, answer_to(request)[:6] + b"\xff" + answer_to(request)[7:])]).run(S)
    assert rig.counts["ok"] == 0
    assert rig.counts["timeouts"] > 0


def test_a_busy_device_has_that_block_put_off_and_no_other() -> None:
    def answer(request: Request) -> list[tuple[int, bytes]]:
        return [(MS, frame(request.transaction, 1, b"\x83\x06"))] if request.address == 0 else QUICK(request)

    rig = LinkRig(MANY, answer).run(20 * S)
    assert 5 <= blocks_of(rig).count((1, 0)) <= 12
    assert blocks_of(rig).count((1, 10)) == 200
