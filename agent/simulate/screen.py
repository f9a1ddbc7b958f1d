"""A verdict in the making in, a live table on a terminal out; plain lines where there is no terminal."""

import os
import time
from typing import IO, Any

from agent.simulate.verdict import Verdict

HOME_AND_CLEAR = "\x1b[H\x1b[J"
BOLD, RED, GREEN, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


class Screen:
    """What the person at the terminal sees of a demonstration."""

    def __init__(self, out: IO[str], title: str) -> None:
        self._out = out
        self._title = title
        self._started = time.monotonic()
        self._live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._colour = self._live and "NO_COLOR" not in os.environ

    def show(self, verdict: Verdict) -> None:
        """The state after one more second."""
        seconds = time.monotonic() - self._started
        totals = f"{verdict.samples} samples in {len(verdict.keys)} batches, {len(verdict.wrong)} wrong"
        if not self._live:
            self._print(f"{seconds:5.1f} s  {totals}")
            return
        rows = [f"  {tag:28} {shown.value:>24}  {shown.samples:7}" for tag, shown in sorted(verdict.latest.items())]
        head = f"  {'tag':28} {'last value':>24}  {'samples':>7}"
        self._print(HOME_AND_CLEAR + "\n".join([self._title, "", self._paint(BOLD, head), *rows, "", f"  {totals}"]))

    def end(self, document: dict[str, Any]) -> None:
        """The summary, in a few lines for a person."""
        received = document["received"]
        good = not received["missing"] and not received["wrong_values"]
        for name, bus in document["buses"].items():
            self._print(
                f"{name}: {bus['transactions']} transactions, {bus['ok']} ok, {bus['timeouts']} timeouts, "
                f"{bus['crc_errors']} CRC errors, line {bus['utilisation']:.0%} busy"
            )
        self._print(
            f"agent: {document['samples_read']} samples read, {document['samples_kept']} kept, "
            f"{document['bytes_sent']} bytes in {document['messages_acked']} messages acknowledged, "
            f"{document['rss_bytes'] / 1e6:.0f} MB, {document['cpu_s']:.2f} s of processor time"
        )
        verdict = (
            f"received: {received['samples']} samples, {received['missing']} missing, "
            f"{received['duplicates']} duplicates, {received['wrong_values']} wrong values"
        )
        self._print(self._paint(GREEN if good else RED, verdict))

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self._colour else text

    def _print(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
