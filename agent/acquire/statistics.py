"""What the loop counts by classes and notes of mishaps in, what an engineer reads out: quantiles, words; pure."""

from collections.abc import Sequence
from typing import NamedTuple

from agent._native.busloop import HISTOGRAM_LIMITS_US
from agent.model import WallClock

US_PER_MS = 1000
# Words for enum ft_mishap_kind of _native/core/mishap.h.
KINDS = (
    "",
    "no answer",
    "a piece of an answer",
    "wrong CRC",
    "exception",
    "an exception that may answer another request",
)
EXCEPTIONS = {  # Modbus Application Protocol V1.1b3, 7
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge: it takes long",
    6: "device busy",
    7: "negative acknowledge: not now",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not answer",
}


class Spans(NamedTuple):
    """How long something took, in ms; each figure is the upper limit of its class, up to 25 % more than what was."""

    p50: float
    p99: float
    most: float


class Mishap(NamedTuple):
    """The last thing that went wrong with a device."""

    t: float  # Unix seconds
    what: str
    heard: str  # the first bytes that came, in hexadecimal


def spans_of(counts: Sequence[int]) -> Spans | None:
    """Quantiles of a histogram; None: nothing was counted."""
    total = sum(counts)
    if total == 0:
        return None
    last = max(i for i, n in enumerate(counts) if n)
    return Spans(_quantile(counts, 0.5 * total), _quantile(counts, 0.99 * total), _limit_ms(last))


def mishap_of(noted: tuple[int, int, int, bytes], clock: WallClock) -> Mishap | None:
    """A device's last mishap as (boot time, kind, detail, bytes); None: it had none."""
    time_ns, kind, detail, heard = noted
    if not KINDS[kind]:
        return None
    what = KINDS[kind] if not detail else f"{KINDS[kind]} {detail}: {EXCEPTIONS.get(detail, 'no code of the standard')}"
    return Mishap(round((time_ns + clock.offset_ns) / 1e9, 6), what, heard.hex(" "))


def _quantile(counts: Sequence[int], wanted: float) -> float:
    seen = 0
    for i, n in enumerate(counts):
        seen += n
        if seen >= wanted:
            return _limit_ms(i)
    return _limit_ms(len(counts) - 1)


def _limit_ms(i: int) -> float:
    return HISTOGRAM_LIMITS_US[i] / US_PER_MS
