"""The facts every stage shares: types, qualities, tags, groups, batches; no I/O."""

from enum import IntEnum
from typing import NamedTuple, Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

WRITING_SHARE = 0.1  # of the loss window: what is to be on the medium by its end is given so long to get there


class ValueType(IntEnum):
    """How the 64 raw bits of a sample are read; numbers as in _native/core/sample.h."""

    BOOL = 0
    U16 = 1
    I16 = 2
    U32 = 3
    I32 = 4
    U64 = 5
    I64 = 6
    F32 = 7
    F64 = 8
    BCD16 = 9
    BCD32 = 10
    TEXT = 11
    BITS = 12


class Order(IntEnum):
    """Where the bytes A (most significant) .. D stand on the wire; numbers as in _native/core/sample.h."""

    ABCD = 0
    CDAB = 1
    BADC = 2
    DCBA = 3


class Quality(IntEnum):
    """Whether a sample's value may be used, and if not, why; numbers as in _native/core/sample.h."""

    GOOD = 0
    STALE = 1
    COMM_FAIL = 2
    EXCEPTION = 3
    OUT_OF_RANGE = 4
    CLOCK_UNKNOWN = 5
    SUBSTITUTED = 6

    @property
    def label(self) -> str:
        """The word used in JSON: `good`, `comm-fail` ..."""
        return self.name.lower().replace("_", "-")

    @property
    def has_value(self) -> bool:
        """False: the sample says why there is no value."""
        return self in (Quality.GOOD, Quality.CLOCK_UNKNOWN, Quality.SUBSTITUTED)


class DeadbandKind(IntEnum):
    """What a dead band's threshold is measured against; numbers as in _native/core/filter.h."""

    NONE = 0
    ABSOLUTE = 1
    PERCENT = 2


class WallClock(NamedTuple):
    """How boot time maps to the wall: wall_ns = boot_ns + offset_ns, true within error_ms."""

    offset_ns: int
    source: int  # 0 unknown, 1 set but not synchronised (RTC or by hand), 2 NTP or better
    error_ms: int


class Tag(NamedTuple):
    """One named value of one device. `value = raw * scale + offset` in `unit`."""

    number: int
    name: str  # BUS/DEVICE/TAG
    type: ValueType
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    deadband: DeadbandKind = DeadbandKind.NONE
    deadband_value: float = 0.0  # in `unit`, or percent of the last sent value
    heartbeat_ns: int = 0  # send a fresh sample at least this often; 0: never only because of time
    every_ns: int = 0  # how often it was asked for ...
    read_ns: int = 0  # ... and how often it is read, less than every_ns apart when it rides in a faster tag's request


class Group(NamedTuple):
    """Tags that one request reads together: they share a time, and become the columns of one table."""

    number: int
    name: str  # BUS/DEVICE
    tags: tuple[int, ...]  # tag numbers, in the order of their registers


class BatchKey(NamedTuple):
    """What makes a batch unique: the receiver removes duplicates and sees gaps by it."""

    epoch: bytes  # 8 random bytes per start of the agent
    seq: int  # counts the batches of an epoch from 0


class Gap(NamedTuple):
    """Samples that were lost for good, as told to the receiver."""

    epoch: bytes  # whose samples
    first_seq: int  # first batch that is missing ...
    last_seq: int  # ... and the last; first_seq - 1 when none had a number yet
    samples: int  # how many, where known, else 0
    reason: str  # restart, evicted, damaged, overrun, rejected


class Message(NamedTuple):
    """One batch, encoded: what the store keeps and the uplink publishes."""

    key: BatchKey
    payload: bytes
    samples: int  # a text is one, however many records it takes
    historical: bool = False  # sent later than live: from the journal, or too long in memory; the payload says so, too


class Outbox(Protocol):
    """Where the uplink takes messages from; the store is one. Everything taken must be acknowledged or given back."""

    def take_live(self) -> Message | None:
        """The next batch of this run that waits in memory, in the order of its seq; None when there is none.

        Flagged historical when it has waited longer than the loss window because the journal could not take it.
        """

    def take_backlog(self) -> Message | None:
        """The oldest batch that only the journal holds, flagged historical; None when there is none."""

    def acknowledge(self, key: BatchKey) -> None:
        """The broker has it: forget it. Unknown or repeated keys are ignored."""

    def reject(self, key: BatchKey, reason: str) -> None:
        """The broker refuses this very message for good: put it aside, count it, never offer it again."""

    def give_back(self) -> None:
        """The link is down: everything taken and not acknowledged is to be taken again, oldest first."""
