"""What a bus does about devices that are busy, dead or noisy, or seem to be."""

import itertools

import pytest
from bus_rig import (
    COMM_FAIL,
    EXCEPTION,
    GOOD,
    MS,
    QUICK,
    QUIET_NS,
    Poll,
    Rig,
    S,
    answer_to,
    asked,
    late_at,
    only,
    paced,
    silent,
)
from wire import with_crc


@pytest.mark.parametrize("code", [5, 6])  # acknowledged: it takes a while; busy
def test_a_block_for_which_the_device_is_busy_is_put_off_and_no_other(code: int) -> None:
    busy = with_crc(bytes([1, 0x83, code]))
    rig = Rig(
        [Poll(period=50 * MS, address=0), Poll(period=50 * MS, address=100)],
        lambda request, n: paced(busy, QUIET_NS) if request[3] == 0 else QUICK(request, n),
        ring_bits=15,
    ).run(40 * S)
    put_off = [at for at, request in rig.sent if request[3] == 0]
    assert len(rig.sent) - len(put_off) == 800
    waits = [(later - before) / MS for before, later in itertools.pairwise(put_off)]
    doubled = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
    assert waits == pytest.approx(doubled, abs=10)  # a transaction lies between, and perhaps one of the other block
    assert {(sample.quality, sample.detail) for sample in rig.samples} == {(GOOD, 0), (EXCEPTION, code)}


@pytest.mark.parametrize("between", [0, 2])  # an answer, another refusal
def test_a_device_that_was_busy_and_is_so_again_is_asked_as_soon_as_the_first_time(between: int) -> None:
    codes = [6, 6, between, 6, 2, 2]
    rig = Rig(
        [Poll(period=10 * MS)],
        lambda request, n: paced(with_crc(bytes([1, 0x83, codes[n]])), QUIET_NS) if codes[n] else QUICK(request, n),
    )
    while len(rig.sent) < len(codes):
        rig.run(rig.now + MS)
    waits = [(later - before) / MS for (before, _), (later, _) in itertools.pairwise(rig.sent)]
    assert waits == pytest.approx([100, 200, 10, 100, 10], abs=10)


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


def test_a_suspect_is_asked_for_the_shortest_block_it_ever_answered() -> None:
    polls = [
        Poll(period=S, quantity=20),
        Poll(period=S, address=100, quantity=5),
        Poll(period=S, address=200, quantity=1, phase=500 * MS),
    ]
    refusal = with_crc(b"\x01\x83\x02")

    def alive(request: bytes, n: int) -> list[tuple[int, bytes]]:
        return paced(refusal, QUIET_NS) if request[3] == 200 else QUICK(request, n)

    rig = Rig(polls, alive, ring_bits=14).run(10 * S)
    rig.answer = silent
    rig.run(300 * S)
    assert {short[:7] for short in asked(rig)[-4:]} == {"1/3@100", "1/3@102"}  # in two shapes: answers are owed
    assert rig.counts["probes"] >= 4


def test_suspects_are_probed_in_a_fiftieth_of_the_time_and_never_longer_apart_than_72_s() -> None:
    rig = Rig([Poll(period=100 * MS, timeout=S)]).run(600 * S)
    probes = [at for at, _ in rig.sent[3:]]
    gaps = [later - before for before, later in itertools.pairwise(probes)]
    assert all(50 * S <= gap <= 73 * S for gap in gaps)
    assert rig.counts["probes"] == len(probes) >= 8
    assert len({gap // S for gap in gaps}) > 4  # each another one: those that died together do not stay together


def test_devices_that_die_after_a_long_time_get_no_more_than_others() -> None:
    """Time without any dead device is no credit for those that there will be."""
    polls = [Poll(unit=unit, period=60 * S, timeout=100 * MS) for unit in range(1, 22)]
    rig = Rig(polls, QUICK, ring_bits=14).run(3600 * S)
    rig.answer = only(1)
    rig.adopt([poll._replace(period=S) for poll in polls])
    rig.run(rig.now + 8 * S)  # three polls of each
    died, before = rig.now, rig.counts["timeouts"]
    rig.run(died + 20 * S)
    assert (rig.counts["timeouts"] - before) * 100 * MS <= 20 * S / 10


def test_a_suspect_that_turns_out_to_be_late_is_asked_at_once() -> None:
    answers = dict.fromkeys(range(3), 900 * MS)
    rig = Rig([Poll(period=100 * MS, timeout=200 * MS)], late_at(answers)).run(3 * S)
    assert rig.counts["timeouts"] == 3
    assert rig.counts["ok"] > 15


def test_a_device_that_is_always_late_gets_no_more_than_the_share_of_suspects() -> None:
    rig = Rig([Poll(period=50 * MS, timeout=100 * MS), Poll(unit=2, period=50 * MS)], ring_bits=14)
    rig.answer = lambda request, _: paced(answer_to(request), 150 * MS if request[0] == 1 else QUIET_NS)
    rig.run(120 * S)
    assert rig.counts["ok"] > 0.85 * 120 * S / (50 * MS)
    assert rig.device_counts(0)["stale_discarded"] > 0


def test_a_device_that_answers_with_noise_is_not_dead() -> None:
    rig = Rig([Poll(period=S, timeout=50 * MS)], lambda *_: [(QUIET_NS, b"\xff\x00")]).run(60 * S)
    assert len(rig.sent) == 60


def test_noise_tells_of_a_device_also_after_a_late_answer_that_did_not() -> None:
    """It came while the next request was under way, which had no answer of its own."""

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        if number < 3:
            return [[(QUIET_NS, answer_to(request))], [(70 * MS, answer_to(request))], []][number]
        return [(QUIET_NS, b"\xff\x00")]

    rig = Rig([Poll(period=60 * MS, timeout=50 * MS)], answer).run(S)
    rig.adopt([Poll(period=S, timeout=50 * MS)])
    begun = len(rig.sent)
    rig.run(61 * S)
    assert rig.counts["stale_discarded"] == 1
    assert (len(rig.sent) - begun, rig.counts["probes"]) == (60, 0)
