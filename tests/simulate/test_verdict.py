"""What the receiving side of a demonstration concludes from what came, and how the terminal shows it."""

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from agent.batch import Sample
from agent.model import ValueType
from agent.simulate.screen import Screen
from agent.simulate.verdict import Verdict

DEVICES = ["rs485/pump", "rs485/tank"]


def sample(tag="rs485/pump/speed", t_us=0, v=1, q="good", unit="", kind=ValueType.U16):
    return Sample("gw", tag, t_us, v, q, unit, 1, b"12345678", kind, 1, 0)


def verdict_of(*samples, right=True):
    verdict = Verdict(lambda _: right)
    for each in samples:
        verdict._take_sample(each)
    return verdict


BOTH = (sample(), sample("rs485/tank/level"))
SILENT = sample(v=None, q="comm-fail")
SILENT_TANK = SILENT._replace(tag="rs485/tank/level")
CASES = {
    "all is well": (verdict_of(*BOTH), 2, [], []),
    "one device of two is silent": (verdict_of(sample(), SILENT_TANK), 2, ["rs485/tank"], []),
    "all are silent": (verdict_of(SILENT), 1, DEVICES, ["no device gave a value"]),
    "nothing came of nothing": (verdict_of(), 0, DEVICES, ["nothing was received"]),
    "nothing came of two": (verdict_of(), 2, DEVICES, ["nothing was received", "2 samples missing"]),
    "one is missing": (verdict_of(*BOTH), 3, [], ["1 sample missing"]),
    "one came twice": (verdict_of(*BOTH, sample()), 3, [], ["1 sample received twice"]),
    "one too many came": (verdict_of(*BOTH, sample(t_us=1)), 2, [], ["1 sample wrong"]),
    "values are wrong": (verdict_of(*BOTH, right=False), 2, [], ["2 samples wrong"]),
}


@pytest.mark.parametrize(("verdict", "kept", "silent", "failures"), CASES.values(), ids=CASES.keys())
def test_only_values_that_came_once_and_right_are_no_failure(verdict, kept, silent, failures):
    received = verdict.received(kept, DEVICES)
    assert (received["silent_devices"], received["failures"]) == (silent, failures)


SHOWN = [
    (sample(v=28840 * 0.01, unit="V"), "288.4 V"),  # 288.40000000000003
    (sample(v=-28.84 * 10), "-288.4"),
    (sample(v=0.10000000149011612, kind=ValueType.F32), "0.1"),
    (sample(v=16777216.0, kind=ValueType.F32), "16777216.0"),
    (sample(v=0.30000000000000004, kind=ValueType.F64), "0.30000000000000004"),
    (sample(v=float("nan"), kind=ValueType.F32), "nan"),
    (sample(v=18446744073709551615, kind=ValueType.U64), "18446744073709551615"),
    (sample(v="pump 7", kind=ValueType.TEXT), "pump 7"),
    (sample(v=None, q="comm-fail", unit="V"), "comm-fail"),
]


@pytest.mark.parametrize(("each", "shown"), SHOWN, ids=[shown for _, shown in SHOWN])
def test_values_are_shown_without_the_noise_of_binary_fractions(each, shown):
    assert verdict_of(each).latest[each.tag].value == shown


BUS = {"transactions": 1, "ok": 1, "timeouts": 0, "crc_errors": 1, "utilisation": 0.256}
DOCUMENT = {
    "buses": {"rs485": BUS}, "samples_read": 3, "samples_kept": 2, "bytes_sent": 99, "messages_acked": 1,
    "rss_bytes": 30_000_000, "cpu_s": 0.125,
}  # fmt: skip
GREEN, RED, YELLOW, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def ended(screen, verdict, kept):
    screen.end({**DOCUMENT, "received": verdict.received(kept, DEVICES)})


def test_without_a_terminal_it_prints_plain_lines():
    out = io.StringIO()
    screen = Screen(out, "title")
    screen._started -= 1.0
    screen.show(verdict_of(sample()))
    ended(screen, verdict_of(sample()), 1)
    title, progress, *rest = out.getvalue().splitlines()
    assert title == "title"
    assert progress.endswith(" s  1 sample in 0 batches, 0 wrong")
    assert rest == [
        "rs485: 1 transaction, 1 ok, 0 timeouts, 1 CRC error, line 26 % busy",
        "agent: 3 samples read, 2 kept, 99 bytes in 1 acknowledged message, 30 MB, 0.12 s of processor time",
        "received: 1 sample, 0 missing, 0 duplicates, 0 wrong values",
        "silent: no value came from rs485/tank",
        "verdict: good: every kept sample arrived once and is right",
    ]


def test_a_failure_is_the_last_word():
    out = io.StringIO()
    ended(Screen(out, "title"), verdict_of(), 2)
    assert out.getvalue().splitlines()[-1] == "verdict: FAILED: nothing was received, 2 samples missing"


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 12 lines and 50 columns; returns its writing end and what reads all that was written to it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("=4H", 12, 50, 0, 0))
    with os.fdopen(writer, "w") as out:
        yield out, lambda: read_to_the_end(reader, out)
    os.close(reader)


def read_to_the_end(reader, out):
    """The kernel hands a terminal's bytes over in its own time."""
    out.write("<end>")
    out.flush()
    text = ""
    while not text.endswith("<end>"):
        text += os.read(reader, 65536).decode()
    return text.removesuffix("<end>").replace("\r\n", "\n")


def test_on_a_terminal_the_table_fits_and_is_drawn_over_itself(terminal):
    out, written = terminal
    screen = Screen(out, "title")
    verdict = verdict_of(*(sample(f"rs485/pump/{letter}") for letter in "abcdefghij"))
    screen.show(verdict)
    first = written().partition("title\n")[2]
    screen.show(verdict)
    second = written()
    lines = first.splitlines()
    assert len(lines) <= 11  # the last line is the cursor's
    assert all(len(line.replace("\x1b[1m", "").replace(PLAIN, "")) < 50 for line in lines)
    assert "  ... and 4 more" in lines
    assert second == f"\x1b[{len(lines)}F\x1b[J{first}"


@pytest.mark.parametrize(("samples", "colour"), [((sample(),), GREEN), ((), RED)])
def test_the_verdict_has_its_colour(terminal, samples, colour):
    out, written = terminal
    ended(Screen(out, "title"), verdict_of(*samples), len(samples))
    assert written().splitlines()[-1].startswith(colour + "verdict: ")


def test_no_color_is_honoured(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out, written = terminal
    screen = Screen(out, "title")
    screen.show(verdict_of(sample()))
    ended(screen, verdict_of(sample()), 1)
    assert "\x1b" not in written()
