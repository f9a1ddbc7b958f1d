"""A new plan for a bus that runs: what is under way is finished, what is known of devices and polls is kept."""

import pytest
from bus_rig import MS, QUICK, QUIET_NS, Poll, Rig, S, after, answer_to, asked, only, paced
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import with_crc

BUSY = 6


def test_the_transaction_under_way_is_finished_and_its_answer_counts() -> None:
    rig = Rig([Poll(period=S, address=1)], after(50 * MS)).run(20 * MS)
    rig.adopt([Poll(period=S, address=300)])
    rig.run(500 * MS)
    assert [sample.tag for sample in rig.good()] == [*range(1001, 1011), *range(1300, 1310)]
    assert asked(rig) == ["1/3@1x10", "1/3@300x10"]
    assert rig.wrong() == []


def test_of_several_plans_within_one_transaction_the_last_one_runs() -> None:
    rig = Rig([Poll(period=S)], after(50 * MS)).run(20 * MS)
    for address in (100, 200, 300):
        rig.adopt([Poll(period=S, address=address)])
    rig.run(500 * MS)
    assert asked(rig) == ["1/3@0x10", "1/3@300x10"]


def test_a_transaction_that_fails_is_waited_for_as_well() -> None:
    rig = Rig([Poll(period=S, timeout=100 * MS)]).run(20 * MS)
    rig.adopt([Poll(period=S, address=300)])
    rig.run(900 * MS)
    assert rig.counts["timeouts"] == 2
    assert rig.sent[1][0] >= 100 * MS


def test_a_plan_that_waits_takes_over_when_the_port_is_lost() -> None:
    rig = Rig([Poll(period=S)], after(50 * MS)).run(20 * MS)
    rig.adopt([Poll(period=S, address=300)])
    rig.bus.detach(rig.now)
    rig.run(S)
    assert {sample.tag for sample in rig.samples} == set(range(1300, 1310))


@given(pauses=st.lists(st.integers(1, 300), min_size=1, max_size=20))
@settings(max_examples=50)
def test_polls_that_stay_keep_their_phase_whenever_plans_change(pauses: list[int]) -> None:
    stays = [Poll(unit=1, period=100 * MS, phase=30 * MS), Poll(unit=2, period=250 * MS, phase=60 * MS)]
    rig = Rig(stays, QUICK)
    for number, pause in enumerate(pauses):
        rig.run(rig.now + pause * MS)
        rig.adopt([Poll(unit=3, period=10 * S, address=number), *stays])
    rig.run(rig.now + S)
    for unit, period, phase in ((1, 100, 30), (2, 250, 60)):
        due = [k * period + phase for k in range(len(rig.sent_to(unit)))]
        assert [at // MS for at in rig.sent_to(unit)] == pytest.approx(due, abs=20)  # behind one or two others
    assert rig.counts["overruns"] == 0


def test_the_parts_of_a_poll_that_is_cut_start_at_their_phase_but_no_later_than_it_was_due() -> None:
    rig = Rig([Poll(period=S, quantity=20)], QUICK).run(500 * MS)
    halves = [Poll(period=S, address=0, phase=100 * MS), Poll(period=S, address=10, phase=900 * MS)]
    rig.adopt(halves)
    rig.run(2 * S)
    assert [at // MS for at, _ in rig.sent] == [1, 600, 1000, 1600]
    assert asked(rig)[1:] == ["1/3@0x10", "1/3@10x10", "1/3@0x10"]


def test_what_a_device_owes_is_remembered() -> None:
    def first_late(request: bytes, number: int) -> list[tuple[int, bytes]]:
        return paced(answer_to(request), 250 * MS if number == 0 else QUIET_NS)

    rig = Rig([Poll(period=200 * MS, timeout=100 * MS)], first_late).run(150 * MS)
    rig.adopt([Poll(period=200 * MS, timeout=100 * MS), Poll(period=S, address=500)])
    rig.run(2 * S)
    assert rig.wrong() == []
    assert rig.counts["stale_discarded"] == 1
    assert "1/3@0x10" not in asked(rig)[1:2]  # that answer would have been taken for this one's


def test_a_suspect_stays_one_and_is_asked_for_what_the_new_plan_has() -> None:
    rig = Rig([Poll(unit=1), Poll(unit=2, timeout=50 * MS), Poll(unit=2, address=100, quantity=1)], only(1)).run(5 * S)
    before, lively = len(rig.sent_to(2)), len(rig.sent_to(1))
    rig.adopt([Poll(unit=2, address=100, quantity=1), Poll(unit=1), Poll(unit=2, timeout=50 * MS)])
    rig.run(7 * S)
    assert len(rig.sent_to(2)) - before <= 2
    assert len(rig.sent_to(1)) - lively >= 19
    rig.answer = QUICK
    rig.run(20 * S)
    assert [short for short in asked(rig) if short.startswith("2/")][before] == "2/3@100x1"
    assert {sample.tag for sample in rig.good()} >= {2000, 2100}


def test_a_block_for_which_the_device_is_busy_is_put_off_on() -> None:
    busy = with_crc(bytes([1, 0x83, BUSY]))
    rig = Rig([Poll(period=10 * MS)], lambda *_: paced(busy, QUIET_NS)).run(2 * S)
    before = len(rig.sent)
    rig.adopt([Poll(period=10 * MS), Poll(unit=2, period=S)])
    rig.run(2500 * MS)
    assert len([request for _, request in rig.sent[before:] if request[0] == 1]) <= 1


def test_timeouts_that_were_learned_are_kept() -> None:
    rig = Rig([Poll(period=10 * MS, timeout=S)], QUICK, ring_bits=14).run(5 * S)
    rig.adopt([Poll(period=20 * MS, timeout=S)])
    rig.answer = only(9)
    asked = len(rig.sent)
    rig.run(5 * S + 100 * MS)
    assert len(rig.sent) - asked >= 2  # the first one did not take its second


def test_predictions_that_were_learned_are_kept() -> None:
    rig = Rig([Poll(period=1, quantity=60)], QUICK, ring_bits=14).run(5 * S)
    looks, asked = rig.looks, len(rig.sent)
    for _ in range(100):
        rig.adopt([Poll(unit=2, period=60 * S, phase=50 * S), Poll(period=1, quantity=60)])
        rig.run(rig.now + 40 * MS)
    assert (rig.looks - looks) / (len(rig.sent) - asked) <= 2.2


def test_counters_follow_their_unit_to_another_place() -> None:
    rig = Rig([Poll(unit=1), Poll(unit=2), Poll(unit=3)], only(1, 3, 4)).run(2 * S)
    before = {unit: rig.device_counts(unit - 1) for unit in (1, 2, 3)}
    spans = {unit: rig.bus.statistics()[1][unit - 1] for unit in (1, 2, 3)}
    rig.adopt([Poll(unit=2, device=1), Poll(unit=3, device=0), Poll(unit=4, device=2)])
    assert rig.device_counts(1) == before[2]
    assert rig.device_counts(0) == before[3]
    assert set(rig.device_counts(2).values()) == {0}
    assert rig.bus.statistics()[1][:2] == [spans[3], spans[2]]
    rig.run(3 * S)
    assert rig.device_counts(0)["ok"] == pytest.approx(before[3]["ok"] + 10, abs=1)


def test_noise_counts_for_the_device_that_was_asked_last_wherever_it_is_now() -> None:
    rig = Rig([Poll(unit=1, period=S), Poll(unit=2, period=S, phase=100 * MS)], QUICK).run(500 * MS)
    rig.adopt([Poll(unit=2, period=S, device=0), Poll(unit=1, period=S, device=1)])
    rig.put(rig.now + MS, b"\x55")
    rig.run(900 * MS)
    assert [rig.device_counts(device)["noise_bytes"] for device in (0, 1)] == [1, 0]


def test_a_first_plan_starts_at_its_phases() -> None:
    rig = Rig([Poll(phase=40 * MS), Poll(unit=2, phase=70 * MS)], QUICK).run(100 * MS)
    assert [at // MS for at, _ in rig.sent] == [40, 70]


def test_silences_are_kept_when_plans_change_in_every_millisecond() -> None:
    rig = Rig([Poll(period=1)], QUICK)
    for number in range(500):
        rig.run(rig.now + MS)
        rig.adopt([Poll(period=1, address=number % 7)])
    assert min(rig.waited) >= QUIET_NS
    assert len(rig.good()) == 10 * rig.counts["ok"] > 500
    assert rig.counts["timeouts"] == 0
