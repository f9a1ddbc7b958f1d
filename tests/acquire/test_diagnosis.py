"""What counters say of a line: one case for each thing that electricians find."""

from pathlib import Path

import pytest
from drivers import FD, FakeKernel

from agent.acquire.counters import read
from agent.acquire.diagnosis import EVIDENCE, SENTENCES, WINDOW, WRAP, Counted, Uart, Window

NOTHING = Uart(0, 0, 0, 0, 0)
BEGIN = Counted(0, 0, 0, NOTHING)


def found(now: Counted, begin: Counted = BEGIN, *, marking: bool = False) -> str | None:
    window = Window(begin)
    assert window.look(now, marking=marking)
    return window.finding.cause if window.finding else None


@pytest.mark.parametrize(
    ("cause", "crc_errors", "timeouts", "uart"),
    [
        ("noise", 5, 0, Uart(10_000, 7, 2, 0, 0)),
        ("noise", 5, 0, Uart(10_000, 0, 3, 1, 1)),
        ("format", 5, 0, Uart(900, 400, 100, 20, 0)),
        ("format", 0, 9, Uart(90, 40, 0, 0, 0)),
        ("parity", 9, 0, Uart(900, 3, 870, 0, 0)),
        ("break", 0, 9, Uart(40, 0, 0, 40, 0)),
        ("overrun", 5, 0, Uart(9_000, 0, 0, 0, 12)),
        ("overrun", 5, 0, Uart(9_000, 2, 0, 0, 12)),
        ("intact", 5, 0, Uart(9_000, 0, 0, 0, 0)),
        ("unseen", 5, 0, None),
    ],
)
def test_damage_has_a_cause(cause: str, crc_errors: int, timeouts: int, uart: Uart | None) -> None:
    assert found(Counted(100, timeouts, crc_errors, uart), BEGIN._replace(uart=uart and NOTHING)) == cause


def test_every_cause_is_a_sentence_with_its_facts() -> None:
    window = Window(BEGIN)
    window.look(Counted(100, 0, 5, Uart(900, 3, 870, 0, 0)), marking=False)
    assert window.finding
    assert window.finding.sentence.startswith("870 of 900 characters have the wrong parity")
    facts = {"bad": 1, **Uart(5, 4, 3, 2, 1)._asdict()}
    assert all("{" not in sentence.format(**facts) for sentence in SENTENCES.values())


@pytest.mark.parametrize(
    ("now", "complete"),
    [
        (Counted(10, 0, 0, NOTHING), False),
        (Counted(WINDOW - 1, 0, EVIDENCE - 1, NOTHING), False),
        (Counted(WINDOW, 0, EVIDENCE - 1, NOTHING), True),
        (Counted(EVIDENCE, 0, EVIDENCE, NOTHING), True),
        (Counted(100, 100, 0, NOTHING), False),  # a silent device is no damaged line
        (Counted(100, 100, 0, None), False),
    ],
)
def test_a_window_stays_open_until_it_tells_something(now: Counted, *, complete: bool) -> None:
    assert Window(BEGIN).look(now, marking=False) == complete


def test_a_line_is_good_again_after_a_clean_window() -> None:
    window = Window(BEGIN)
    bad = Counted(100, 0, 5, Uart(9_000, 7, 0, 0, 0))
    assert window.look(bad, marking=False)
    assert window.finding
    assert not window.look(bad._replace(transactions=200), marking=False)
    assert window.finding
    assert window.look(bad._replace(transactions=100 + WINDOW), marking=False)
    assert window.finding is None


@pytest.mark.parametrize(
    ("marks", "cause"),
    [((9_000, 5, 0), "noise"), ((900, 400, 9), "format"), ((50, 40, 39), "break"), ((9_000, 0, 0), "intact")],
)
@pytest.mark.parametrize("uart", [None, NOTHING])
def test_marks_tell_where_the_driver_does_not(marks: tuple[int, int, int], cause: str, uart: Uart | None) -> None:
    assert found(Counted(100, 0, 5, uart, marks), BEGIN._replace(uart=uart), marking=True) == cause


def test_counters_that_wrapped_count_on() -> None:
    before = Uart(WRAP - 10, 0, 0, WRAP - 1, 0)
    assert Uart(5, 1, 0, 2, 0).since(before) == Uart(15, 1, 0, 3, 0)


def test_a_driver_tells_its_counters_or_not(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path / "a", "8250")
    kernel.icount = [1, 2, 3, 4, 1000, 5, 6, 7, 8, 9, 10]
    assert read(kernel, FD) == Uart(received=1000, framing=6, parity=8, breaks=9, overruns=17)
    assert read(FakeKernel(tmp_path / "b", "ch341"), FD) is None
