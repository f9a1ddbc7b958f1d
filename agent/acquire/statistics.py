"""What the loops have counted and noted in, what an engineer reads out: counters, quantiles, words; pure."""

from collections.abc import Sequence
from typing import NamedTuple

from agent._native.busloop import HISTOGRAM_LIMITS_US
from agent.acquire.diagnosis import Uart
from agent.acquire.pdu import refusal
from agent.model import NS_PER_MS, WallClock

US_PER_MS = 1000
# Words for enum ft_mishap_kind of _native/core/mishap.h.
KINDS = (
    "",
    "no answer",
    "a piece of an answer",
    "only bytes that do not answer",
    "wrong CRC",
    "exception",
    "an exception that may answer another request",
)
KINDS_IN_ASCII = tuple(kind.replace("CRC", "LRC") for kind in KINDS)


class Counts(NamedTuple):
    """What happened on a bus or with a device, since start; the order is that of _native.busloop.COUNTERS."""

    transactions: int
    ok: int
    timeouts: int
    crc_errors: int
    exceptions: int
    stale_discarded: int  # answers that came when they were no longer awaited
    ambiguous: int  # exceptions that may have been late ones, discarded too
    overruns: int  # polls skipped because bus or device were not ready in their period
    busy_ns: int
    barriers: int  # loop-backs, sent to be sure that no late answer is under way
    probes: int  # requests to devices that seem to be dead
    noise_bytes: int  # in no answer: the line's quality
    collisions: int  # the line's echo differed from what was sent
    bytes_sent: int
    bytes_heard: int  # a device's: while it was the last one to be asked, echo and noise included

    @property
    def answers(self) -> int:
        """Polls that were answered, if only by a refusal."""
        return self.ok + self.exceptions

    @property
    def failures(self) -> int:
        """Polls that were answered by silence or by damage."""
        return self.timeouts + self.crc_errors


class Spans(NamedTuple):
    """How long something took, in ms; each figure is the upper limit of its class, up to 25 % more than what was."""

    n: int
    p50: float
    p99: float
    most: float
    classes: tuple[tuple[float, int], ...]  # those that are not empty: upper limit, how many


class Asked(NamedTuple):
    """The request that something went wrong with."""

    unit: int
    function: int
    address: int
    quantity: int


class Mishap(NamedTuple):
    """The last thing that went wrong with a device."""

    t: float  # Unix seconds
    what: str
    asked: Asked
    heard: str  # the beginning of what came: bytes in hexadecimal, on a line of ASCII its characters


class Silences(NamedTuple):
    """What `gap = "learned"` has found out about the silence before a device's requests, in ms."""

    kept: float
    refused: float | None  # after so little one went wrong; None: none did, or it is to be tried once more


class DeviceStats(NamedTuple):
    """One device: its counters, how long it takes to answer, what went wrong last."""

    unit: int
    counts: Counts
    round_trips: Spans | None  # from the request's first byte to the answer's last
    turnarounds: Spans | None  # the same without the time of both on the wire; None: not known
    mishap: Mishap | None
    is_suspect: bool  # silent for so long that it is only probed
    silences: Silences | None = None  # None: its line keeps t3.5


class BusStats(NamedTuple):
    """One bus: its counters, its port and its devices."""

    counts: Counts
    ring_dropped: int  # samples lost because nobody drained the ring
    utilisation: float  # share of the time that the line was taken
    port: str  # opening, open, failed
    error: str  # why it is not open
    devices: dict[str, DeviceStats]
    wire_utilisation: float | None = None  # share of the time that bytes were on the wire; None: its rate is not known
    lateness: Spans | None = None  # of polls, from when they were due
    notes: tuple[str, ...] = ()  # what the port's driver granted and refused
    finding: str = ""  # why answers are damaged
    uart: Uart | None = None  # what the port's driver has counted; None: it does not tell
    marks: tuple[int, int, int] = (0, 0, 0)  # characters heard while marking, those marked, those that may be breaks
    advice: tuple[str, ...] = ()  # what the numbers point to
    silence_ms: float | None = None  # t3.5; None: its rate is not known


def spans_of(counts: Sequence[int]) -> Spans | None:
    """Quantiles of a histogram; None: nothing was counted."""
    classes = tuple((_limit_ms(i), n) for i, n in enumerate(counts) if n)
    if not classes:
        return None
    total = sum(counts)
    return Spans(total, _quantile(counts, 0.5 * total), _quantile(counts, 0.99 * total), classes[-1][0], classes)


def silences_of(kept_ns: int, refused_ns: int) -> Silences:
    """What a device goes along with and what it does not (0: nothing)."""
    return Silences(_ms(kept_ns), _ms(refused_ns) if refused_ns else None)


def mishap_of(
    noted: tuple[int, int, int, bytes, tuple[int, int, int, int]], clock: WallClock, *, is_ascii: bool = False
) -> Mishap | None:
    """A device's last mishap as (boot time, kind, detail, bytes, what was asked); None: it had none."""
    time_ns, kind, detail, heard, asked = noted
    if not KINDS[kind]:
        return None
    what = refusal(detail) if detail else (KINDS_IN_ASCII if is_ascii else KINDS)[kind]
    shown = heard.decode("latin-1").encode("unicode_escape").decode() if is_ascii else heard.hex(" ")
    return Mishap(round((time_ns + clock.offset_ns) / 1e9, 6), what, Asked(*asked), shown)


def _quantile(counts: Sequence[int], wanted: float) -> float:
    seen = 0
    for i, n in enumerate(counts):
        seen += n
        if seen >= wanted:
            return _limit_ms(i)
    return _limit_ms(len(counts) - 1)


def _ms(ns: int) -> float:
    return round(ns / NS_PER_MS, 6)


def _limit_ms(i: int) -> float:
    return HISTOGRAM_LIMITS_US[i] / US_PER_MS
