"""A host that stood still for hours, as one that slept or a machine that was frozen: it costs no time after that."""

import bus_rig
import links
import pytest
from bus_rig import CHAR_NS, MS, QUIET_NS, Rig, S, answer_to, only, paced
from links import LinkRig

HOURS = 3600 * S
LONGEST_PROBE = 75 * S  # suspects are probed once a minute at least, give or take some


def dead(*units: int, from_ns: int) -> links.Answer:
    """Devices that answer, but those units not from then on."""
    return lambda request: [] if request.unit in units and request.at >= from_ns else links.after(5 * MS)(request)


@pytest.mark.parametrize("hours", [1, 24 * 365])
def test_a_dead_device_of_a_bus_is_probed_as_often_as_before(hours: int) -> None:
    rig = Rig([bus_rig.Poll(unit=1), bus_rig.Poll(unit=2)], only(1)).run(30 * S)
    asked = len(rig.sent_to(2))
    while len(rig.sent_to(2)) == asked:
        rig.run(rig.now + MS)
    rig.now += hours * HOURS
    rig.run(rig.now + S)
    rig.answer = only(1, 2)
    begun = rig.now
    rig.run(begun + LONGEST_PROBE)
    assert any(sample.tag >= 2000 for sample in rig.good())


@pytest.mark.parametrize("hours", [1, 24 * 365])
def test_a_dead_device_of_a_link_is_probed_as_often_as_before(hours: int) -> None:
    rig = LinkRig([links.Poll(unit=1), links.Poll(unit=2)], dead(2, from_ns=0)).run(30 * S)
    asked = len(rig.sent)
    while all(request.unit != 2 for request in rig.sent[asked:]):
        rig.run(rig.now + MS)
    rig.now += hours * HOURS
    rig.run(rig.now + S)
    rig.answer = links.after(5 * MS)
    rig.run(rig.now + LONGEST_PROBE)
    assert any(sample.tag >= 2000 for sample in rig.good())


@pytest.mark.parametrize(("slept", "is_late"), [(400 * MS, False), (600 * MS, True), (HOURS, True)])
def test_an_answer_that_a_link_finds_long_after_its_deadline_is_a_late_one(slept: int, *, is_late: bool) -> None:
    rig = LinkRig([links.Poll(timeout=S)], links.after(5 * MS)).run(30 * S + MS)
    asked, good = len(rig.sent), len(rig.good())
    rig.now = rig.sent[-1].at + S + slept
    rig.run(rig.now + MS)
    counts = rig.counts
    assert (counts["timeouts"], counts["stale_discarded"], counts["ok"]) == (is_late, is_late, asked - is_late)
    assert (len(rig.good()) > good) is not is_late
    rig.run(rig.now + S + 50 * MS)
    assert rig.counts["ok"] == len(rig.sent) - is_late


def test_in_the_middle_of_an_answer_it_is_not_taken_for_the_adapters_own_silence() -> None:
    rig = Rig([bus_rig.Poll(unit=unit, timeout=60 * S) for unit in (1, 2)], only(1, 2)).run(310 * MS)
    asked = len(rig.sent)
    rig.run(400 * MS + 8 * CHAR_NS + QUIET_NS + 20 * CHAR_NS)
    assert (len(rig.sent), rig.counts["ok"]) == (asked + 1, asked)  # a piece of the answer has come
    rig.now += 50 * S
    rig.run(rig.now + S)
    assert rig.counts["timeouts"] == 0
    damaged = len(rig.sent)
    rig.answer = lambda request, number: paced(answer_to(request)[: -1 if number == damaged else None], QUIET_NS)
    before = len(rig.good())
    rig.run(rig.now + 2 * S)
    assert len(rig.good()) - before >= 250


def test_a_late_answer_that_was_found_after_it_makes_no_timeout_longer() -> None:
    def late(request: bytes, number: int) -> list[tuple[int, bytes]]:
        return paced(answer_to(request), 100 * MS) if number == 300 else only(1)(request, number)

    rig = Rig([bus_rig.Poll(timeout=S)], late, ring_bits=14).run(30 * S + 60 * MS)
    assert (len(rig.sent), rig.counts["timeouts"]) == (301, 1)
    rig.now += HOURS
    rig.run(rig.now + 30 * S)
    assert rig.counts["stale_discarded"] == 1
    rig.answer = only()
    rig.run(rig.now + 110 * MS)
    failed = rig.samples[-1]
    assert failed.quality == bus_rig.COMM_FAIL
    assert failed.time_ns - rig.sent[-1][0] < 100 * MS
