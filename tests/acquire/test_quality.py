"""Devices and lines that turn bad, silent and well again, as the counters of look after look tell it."""

import random

import pytest

from agent.acquire.chronicle import KEPT, Chronicle
from agent.acquire.events import TROUBLES, Kind
from agent.acquire.quality import ENOUGH, WINDOW, Line, Seen
from agent.acquire.statistics import Counts

NOTHING = Counts(*[0] * len(Counts._fields))


class Looks:
    """Devices whose polls come out as the test says, and all that is told about them."""

    def __init__(self, *names: str) -> None:
        self.line = Line()
        self.seen = {name: Seen(NOTHING, False) for name in names or ("meter",)}
        self.told: list[tuple[Kind, str]] = []

    def poll(self, name: str = "meter", *, good: int = 0, damaged: int = 0, unanswered: int = 0) -> "Looks":
        counts = self.seen[name].counts
        counts = counts._replace(
            transactions=counts.transactions + good + damaged + unanswered,
            ok=counts.ok + good,
            crc_errors=counts.crc_errors + damaged,
            timeouts=counts.timeouts + unanswered,
        )
        self.seen[name] = self.seen[name]._replace(counts=counts)
        return self

    def suspect(self, is_suspect: bool, name: str = "meter") -> "Looks":
        self.seen[name] = self.seen[name]._replace(is_suspect=is_suspect)
        return self

    def look(self) -> list[tuple[Kind, str]]:
        changes = [(change.kind, change.device) for change in self.line.look(self.seen)]
        self.told += changes
        return changes


def test_a_device_turns_bad_once_and_good_once():
    looks = Looks()
    for _ in range(5):
        looks.poll(good=120, damaged=80).look()
    for _ in range(5):
        looks.poll(good=200).look()
    assert looks.told == [(Kind.DEVICE_BAD, "meter"), (Kind.DEVICE_GOOD, "meter")]


def test_a_device_that_fails_much_is_told_of_before_its_window_is_full():
    looks = Looks()
    assert looks.poll(good=2, unanswered=ENOUGH - 1).look() == []
    assert looks.poll(unanswered=1).look() == [(Kind.DEVICE_BAD, "meter")]


def test_what_went_wrong_is_told_in_numbers():
    line = Line()
    counts = NOTHING._replace(transactions=200, ok=150, crc_errors=48, timeouts=2)
    (change,) = line.look({"meter": Seen(counts, False)})
    assert change.words == "of its last 200 polls 48 came damaged and 2 not at all"


@pytest.mark.parametrize("share", [0.085, 0.095, 0.105, 0.115])
def test_a_device_on_the_brink_does_not_flap(share):
    for seed in range(20):
        dice = random.Random(seed)
        looks = Looks()
        for _ in range(100):
            damaged = sum(dice.random() < share for _ in range(50))
            looks.poll(good=50 - damaged, damaged=damaged).look()
        assert looks.told in ([], [(Kind.DEVICE_BAD, "meter")])


def test_a_silent_device_is_told_once_however_long_it_is_silent():
    looks = Looks()
    looks.poll(good=500).look()
    for _ in range(20):
        looks.poll(unanswered=5).suspect(True).look()
    assert looks.told == [(Kind.DEVICE_SILENT, "meter")]
    looks.suspect(False).poll(good=2).look()
    assert len(looks.told) == 1
    looks.poll(good=1).look()
    assert looks.told == [(Kind.DEVICE_SILENT, "meter"), (Kind.DEVICE_BACK, "meter")]


def test_another_plan_for_the_bus_is_no_answer_of_a_silent_device():
    looks = Looks()
    looks.poll(unanswered=3).suspect(True).look()
    looks.suspect(False)
    assert [looks.look() for _ in range(5)] == [[]] * 5


def test_a_device_that_comes_and_goes_is_told_ever_more_rarely():
    looks = Looks()
    for _ in range(500):
        looks.poll(unanswered=3).suspect(True).look()
        looks.poll(good=4).suspect(False).look()
    assert 2 <= len(looks.told) <= 2 * 10


def test_silence_is_no_bad_quality_and_ends_as_none():
    looks = Looks()
    looks.poll(good=100).look()
    looks.poll(unanswered=100).suspect(True).look()
    looks.suspect(False)
    for _ in range(10):
        looks.poll(good=100).look()
    assert [kind for kind, _ in looks.told] == [Kind.DEVICE_SILENT, Kind.DEVICE_BACK]


def test_a_line_is_bad_when_most_of_its_devices_are_and_one_device_is_no_line():
    looks = Looks("a", "b", "c", "dead")
    looks.suspect(True, "dead").poll("dead", unanswered=3).look()
    looks.told.clear()
    for name in "abc":
        looks.poll(name, good=100, damaged=100)
        looks.look()
    assert looks.told == [
        (Kind.DEVICE_BAD, "a"),
        (Kind.DEVICE_BAD, "b"),
        (Kind.LINE_BAD, ""),
        (Kind.DEVICE_BAD, "c"),
    ]
    looks.told.clear()
    for name in "ab":
        looks.poll(name, good=200).look()
    assert looks.told == [(Kind.DEVICE_GOOD, "a"), (Kind.DEVICE_GOOD, "b"), (Kind.LINE_GOOD, "")]
    alone = Looks()
    assert alone.poll(damaged=100).look() == [(Kind.DEVICE_BAD, "meter")]


def test_another_device_by_the_same_name_begins_anew():
    looks = Looks()
    looks.poll(good=1000).look()
    looks.seen["meter"] = Seen(NOTHING, False)
    looks.look()
    assert looks.poll(damaged=WINDOW).look() == [(Kind.DEVICE_BAD, "meter")]


# --- the chronicle ---


def test_every_trouble_has_a_line_of_its_own_in_the_log_and_its_end_too(caplog):
    caplog.set_level("INFO")
    chronicle = Chronicle()
    for kind in Kind:
        chronicle.tell(kind, "rs485", "what happened", "meter" if "device" in kind else "")
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING" if kind in TROUBLES else "INFO" for kind in Kind]
    assert len(TROUBLES) == len(Kind) / 2
    assert caplog.records[0].getMessage() == "bus rs485: what happened"
    assert caplog.records[-1].getMessage() == "bus rs485: device meter: what happened"


def test_a_reader_gets_what_is_new_to_it_and_sees_what_it_has_missed():
    chronicle = Chronicle()
    for at in range(KEPT + 10):
        chronicle.tell(Kind.PORT_UP, "b", str(at))
    kept = chronicle.since(0)
    assert len(kept) == KEPT
    assert kept[0].number == 11
    assert [event.words for event in chronicle.since(KEPT + 8)] == [str(KEPT + 8), str(KEPT + 9)]
    assert chronicle.since(KEPT + 10) == ()
