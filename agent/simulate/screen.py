"""A verdict in the making in, a live table on a terminal out; plain lines where there is no terminal."""

import os
import time
from collections.abc import Mapping
from typing import IO, Any

from agent.simulate.verdict import Shown, Verdict

BOLD, RED, GREEN, YELLOW, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
BACK_UP = "\x1b[{}F\x1b[J"  # to the first of so many lines, and clear from there
AROUND_ROWS = 5  # lines of the live table that are not rows, and the cursor's


class Screen:
    """What the person at the terminal sees of a demonstration."""

    def __init__(self, out: IO[str], title: str) -> None:
        self._out = out
        self._started = time.monotonic()
        self._live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._colour = self._live and "NO_COLOR" not in os.environ
        self._drawn = 0  # lines of the live table that stand on the terminal
        self._print(title)

    def show(self, verdict: Verdict) -> None:
        """The state after one more second."""
        batches, samples = len(verdict.keys), verdict.samples
        totals = f"{counted(samples, 'sample')} in {counted(batches, 'batch', 'batches')}, {len(verdict.wrong)} wrong"
        if not self._live:
            self._print(f"{time.monotonic() - self._started:5.1f} s  {totals}")
            return
        size = os.get_terminal_size(self._out.fileno())
        table = [line[: size.columns - 1] for line in rows(verdict.latest, size.lines - AROUND_ROWS)]
        up = BACK_UP.format(self._drawn) if self._drawn else ""
        lines = ["", self._paint(BOLD, table[0]), *table[1:], "", f"  {totals}"]
        self._drawn = len(lines)
        self._print(up + "\n".join(lines))

    def end(self, document: dict[str, Any]) -> None:
        """The summary, in a few lines for a person; the verdict is the last."""
        for line in summary(document):
            self._print(line)
        received = document["received"]
        if received["silent_devices"]:
            self._print(self._paint(YELLOW, f"silent: no value came from {', '.join(received['silent_devices'])}"))
        failures = received["failures"]
        verdict = f"FAILED: {', '.join(failures)}" if failures else "good: every kept sample arrived once and is right"
        self._print(self._paint(RED if failures else GREEN, f"verdict: {verdict}"))

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self._colour else text

    def _print(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


def rows(latest: Mapping[str, Shown], most: int) -> list[str]:
    """The head of the table and a row for each tag, as many as there is room for."""
    lines = [f"  {tag:28} {shown.value:>24}  {shown.samples:7}" for tag, shown in sorted(latest.items())]
    if len(lines) > most:
        lines = [*lines[: most - 1], f"  ... and {len(lines) - most + 1} more"] if most > 1 else []
    return [f"  {'tag':28} {'last value':>24}  {'samples':>7}", *lines]


def summary(document: dict[str, Any]) -> list[str]:
    """What each stage has counted."""
    received = document["received"]
    buses = [
        f"{name}: {counted(bus['transactions'], 'transaction')}, {bus['ok']} ok, "
        f"{counted(bus['timeouts'], 'timeout')}, {counted(bus['crc_errors'], 'CRC error')}, "
        f"line {100 * bus['utilisation']:.0f} % busy"
        for name, bus in document["buses"].items()
    ]
    return [
        *buses,
        f"agent: {counted(document['samples_read'], 'sample')} read, {document['samples_kept']} kept, "
        f"{counted(document['bytes_sent'], 'byte')} in {counted(document['messages_acked'], 'acknowledged message')}, "
        f"{document['rss_bytes'] / 1e6:.0f} MB, {document['cpu_s']:.2f} s of processor time",
        f"received: {counted(received['samples'], 'sample')}, {received['missing']} missing, "
        f"{counted(received['duplicates'], 'duplicate')}, {counted(received['wrong_values'], 'wrong value')}",
    ]


def counted(number: int, one: str, many: str = "") -> str:
    """`1 sample`, `2 samples`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
