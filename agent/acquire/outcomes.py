"""Drained samples in, what became of the reads that matter out: by the tags that were read together; pure."""

from collections.abc import Iterator
from typing import NamedTuple

from agent._native.samples import Samples
from agent.model import Quality

SAMPLE_BYTES = 32  # ft_sample in _native/core/sample.h: where its fields are
TIME_AT, TAG_AT, GROUP_AT, QUALITY_AT, DETAIL_AT = 0, 16, 20, 26, 27
FAILURES = (Quality.EXCEPTION, Quality.COMM_FAIL)


class Outcome(NamedTuple):
    """What became of one read."""

    tags: frozenset[int]
    time_ns: int
    quality: Quality
    code: int  # of the device's exception, else 0

    @property
    def is_answered(self) -> bool:
        """Whether the device gave values, which may be ones that cannot be."""
        return self.quality not in FAILURES


def outcomes(samples: Samples, start: int, watched: frozenset[int]) -> Iterator[Outcome]:
    """The reads among samples[start:] that failed, and all of those that hold a watched tag, in their order.

    It looks at single samples only where there is something to be seen: usually there is not.
    """
    raw = bytes(samples)[start * SAMPLE_BYTES :]
    qualities = raw[QUALITY_AT::SAMPLE_BYTES]
    has_failures = any(failure in qualities for failure in FAILURES)
    if not watched and not has_failures:
        return
    words = memoryview(raw).cast("I")
    tags = words[TAG_AT // 4 :: SAMPLE_BYTES // 4].tolist()
    if not has_failures and watched.isdisjoint(tags):
        return
    groups = words[GROUP_AT // 4 :: SAMPLE_BYTES // 4].tolist()
    times = memoryview(raw).cast("q")[TIME_AT // 8 :: SAMPLE_BYTES // 8].tolist()
    at = 0
    while at < len(tags):
        end = at + 1
        while end < len(tags) and (times[end], groups[end]) == (times[at], groups[at]):
            end += 1
        together = frozenset(tags[at:end])
        if qualities[at] in FAILURES or any(tag in watched for tag in together):
            detail = raw[at * SAMPLE_BYTES + DETAIL_AT]
            quality = Quality(qualities[at])
            yield Outcome(together, times[at], quality, detail if quality is Quality.EXCEPTION else 0)
        at = end
