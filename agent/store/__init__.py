"""Encoded batches in, kept through outages and power cuts, out in order until acknowledged."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from agent.config.model import Store as Settings
from agent.model import NS_PER_S, WRITING_SHARE, BatchKey, Gap, Message
from agent.store.account import Account, Guard
from agent.store.fs import FileSystem, RealFileSystem
from agent.store.pages import Kind, Place, Record
from agent.store.queue import Live
from agent.store.reader import Mark, Merge, Reader
from agent.store.recovery import Stored
from agent.store.schemas import SchemaBook
from agent.store.takeover import keep_in_place, take_over
from agent.store.writer import COMMIT_BYTES, RETRY_NS, Medium, Writer

JOURNAL_FILE = "journal"
SCHEMA_FILE = "schemas"
PAGE_BYTES = 4096  # what a cut may destroy around the page being written is a flash page: 4 KiB or more

MEMORY_BYTES = 4 << 20  # live batches in memory; what exceeds it goes to the journal at once


class StoreStats(NamedTuple):
    """Counters since the start."""

    bytes_written: int  # pages with batches or fragments; 0 while the link acknowledges within the loss window
    upkeep_bytes: int  # start, cursor, stop and schema pages
    pending_batches: int
    memory_bytes: int
    evicted: int  # batches given up because there was no room
    lost_samples: int  # given up at the end: no broker had taken them, and the journal could not
    restored: int  # times the journal had been deleted, replaced or cut short, and was made anew
    damaged_pages: int
    gaps: int
    alarm: str  # why nothing can be written; empty: all is well


class _Fragment(NamedTuple):
    """A checkpoint in memory."""

    message: Message
    at_ns: int  # when it was made: it holds all samples of its batch up to then


class Store:
    """The outbox of the agent (model.Outbox). No threads: a commit blocks its caller while the medium is busy."""

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        epoch: bytes,
        now_ns: int,
        merge: Merge,
        mark: Mark,
        fs: FileSystem | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        page_bytes: int = PAGE_BYTES,
    ) -> "Store":
        """Find everything earlier runs left. Never fails: without a usable medium it works in memory, with an alarm."""
        store = cls(settings, epoch, (merge, mark), Medium(fs or RealFileSystem(), wall_ns, page_bytes))
        store._attach(now_ns)
        return store

    def __init__(self, settings: Settings, epoch: bytes, payloads: tuple[Merge, Mark], medium: Medium) -> None:
        """Use open()."""
        self._directory = PurePosixPath(settings.path)
        self._window_ns = int(settings.loss_window_s * NS_PER_S * (1 - WRITING_SHARE))
        self._account = Account(epoch)
        self._queue = self._account.queue
        self._fragments: list[_Fragment] = []  # of the batch that is open
        self._lost_samples = 0
        self._schemas = SchemaBook(medium.fs, str(self._directory / SCHEMA_FILE), medium.page_bytes)
        self._writer = Writer(settings, medium, self._account)
        self._reader = Reader(self._account, self._writer, self._schemas, *payloads)

    # ---- in ----------------------------------------------------------------------------------------------------

    def put(self, message: Message, oldest_ns: int, now_ns: int) -> None:
        """A batch is complete; its oldest sample is of `oldest_ns`. It stays in memory for now."""
        seq = self._account.check(message)
        guard = self._account.guards.get(seq)
        self._fragments = [fragment for fragment in self._fragments if fragment.message.key.seq > seq]
        self._account.next_seq = seq + 1
        unprotected_ns = max(oldest_ns, guard.until_ns) if guard else oldest_ns
        self._queue.put(Live(message, unprotected_ns + self._window_ns))
        self._account.gaps.carried_by(message.key)
        if self._queue.memory_bytes > MEMORY_BYTES:
            self._relieve(now_ns)

    def checkpoint(self, message: Message, now_ns: int) -> None:
        """New samples of the batch that is still open, under the key it will have; the next tick writes them."""
        self._account.check(message)
        self._fragments.append(_Fragment(message, now_ns))

    def put_schemas(self, schemas: Mapping[bytes, bytes]) -> None:
        """The schemas this run's batches use; written by the next tick when there is a new one."""
        self._schemas.put(schemas)

    def schemas(self) -> dict[bytes, bytes]:
        """Old and new: all that any batch in the journal may need."""
        return self._schemas.all()

    # ---- out: model.Outbox -------------------------------------------------------------------------------------

    def take_live(self) -> Message | None:
        """The next batch of this run that waits in memory; flagged historical when it should have left it already."""
        live = self._queue.take_live()
        if live is None:
            return None
        return self._reader.historical(live.message) if live.late else live.message

    def take_backlog(self) -> Message | None:
        """The oldest batch that only the journal holds, flagged historical."""
        return self._reader.take()

    def acknowledge(self, key: BatchKey) -> None:
        """The broker has it."""
        self._account.acknowledge(key, self._writer.sequence)

    def reject(self, key: BatchKey, reason: str) -> None:
        """The broker refuses it for good: a counted gap, so that it cannot hold up the batches behind it."""
        self._account.reject(key, self._writer.sequence, reason)

    def give_back(self) -> None:
        """The link is down."""
        self._account.give_back()

    def take_gaps(self) -> list[Gap]:
        """Losses that the next batch put() is to announce; handed out again if that batch is lost or the agent dies."""
        return self._account.gaps.hand_out()

    def add_gap(self, gap: Gap) -> None:
        """Samples that were lost before they came here; take_gaps() hands it out like all others."""
        self._account.gaps.add(gap)
        self._account.untold = True

    @property
    def recovered_gaps(self) -> list[Gap]:
        """What earlier runs lost, for the log; take_gaps() hands them out like all others."""
        return self._account.recovered_gaps

    # ---- time --------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> int | None:
        """Write what has waited for the length of the loss window; returns when it wants to be called again."""
        self._reader.allow_another_attempt()
        if self._usable(now_ns):
            self._store_due(now_ns)
            self._writer.write_cursor(now_ns)
            self._write_schemas(now_ns)
        if self._queue.memory_bytes > MEMORY_BYTES:
            self._relieve(now_ns)
        for live in self._queue.live():
            live.late = live.due_ns <= now_ns
        return self._deadline(now_ns)

    def close(self, now_ns: int) -> None:
        """Write everything that is not acknowledged, and that this run ended well; what cannot be written is lost."""
        self._account.give_back()
        if self._usable(now_ns, at_once=True):
            self._store([*self._queue.live(), *self._fragments], now_ns)
            self._write_schemas(now_ns)
        while message := self._queue.drop_live(newest=False):
            self._lost_samples += message.samples
            self._account.lose(message.key, message.samples)
        if self._writer.journal:  # a medium that takes this page tells the next run exactly what was lost
            self._writer.upkeep(now_ns, clean=True)
        self._schemas.close()
        self._writer.close()

    def stats(self) -> StoreStats:
        """Counters since the start."""
        return StoreStats(
            bytes_written=self._writer.batch_bytes,
            upkeep_bytes=self._writer.upkeep_bytes,
            pending_batches=len(self._queue),
            memory_bytes=self._queue.memory_bytes,
            evicted=self._account.evicted,
            lost_samples=self._lost_samples,
            restored=self._writer.restored,
            damaged_pages=self._account.damaged_pages,
            gaps=self._account.gaps.counted,
            alarm=self._writer.alarm,
        )

    def _deadline(self, now_ns: int) -> int | None:
        if self._writer.alarm:
            return self._writer.retry_ns
        dues = [live.due_ns for live in self._queue.live()][:1] + [fragment.at_ns for fragment in self._fragments[:1]]
        if self._writer.cursor_due_ns is not None:
            dues.append(self._writer.cursor_due_ns)
        due_ns = min(dues, default=None)
        # What is due and still here found no room: an acknowledgement makes some, and calls tick(), too.
        return now_ns + RETRY_NS if due_ns is not None and due_ns <= now_ns else due_ns

    # ---- memory to journal -------------------------------------------------------------------------------------

    def _usable(self, now_ns: int, *, at_once: bool = False) -> bool:
        """Whether writing may be tried now; after a failure that is every RETRY_NS, or `at_once`, the last time."""
        if self._writer.rests(now_ns) and not at_once:
            return False
        if self._writer.journal is None:
            return self._attach(now_ns)
        try:
            keep_in_place(self._writer.journal, self._writer, self._account, now_ns)
            self._schemas.keep_in_place()
        except OSError as error:
            self._writer.fail(error, now_ns)
            return False
        return self._writer.works(now_ns, self._writer.journal)

    def _attach(self, now_ns: int) -> bool:
        """Find the medium and what earlier runs left on it."""
        try:
            self._writer.fs.make_directory(str(self._directory))
            self._schemas.load()
            take_over(str(self._directory / JOURNAL_FILE), self._writer, self._account, now_ns)
        except OSError as error:
            self._writer.fail(error, now_ns)
            return False
        self._writer.upkeep(now_ns)
        return not self._writer.alarm

    def _write_schemas(self, now_ns: int) -> None:
        try:
            self._writer.upkeep_bytes += self._schemas.write(self._writer.stamp(now_ns))
        except OSError as error:
            self._writer.fail(error, now_ns)

    def _store_due(self, now_ns: int) -> None:
        """Batches up to the last one that is due, all before a fragment: so the journal keeps their order."""
        lives = list(self._queue.live())
        due = max((i for i, live in enumerate(lives, 1) if live.due_ns <= now_ns), default=0)
        self._store([*lives, *self._fragments] if self._fragments else lives[:due], now_ns)

    def _store(self, items: Sequence[Live | _Fragment], now_ns: int) -> bool:
        """Write batches, then fragments, in commits of bounded size. What cannot be written stays in memory: False."""
        while items:
            count = _within(COMMIT_BYTES, [len(item.message.payload) for item in items])
            records = [self._record(item) for item in items[:count]]
            places = self._writer.commit(records, self._writer.stamp(now_ns), now_ns)
            if places is None and self._writer.drop_newest and count > 1:  # full: as many as still fit
                return all(self._store([item], now_ns) for item in items)
            if places is None:
                return False
            for item, record, place in zip(items[:count], records, places, strict=True):
                self._stored(item, record, place)
            items = items[count:]
        return True

    def _record(self, item: Live | _Fragment) -> Record:
        message = item.message
        guard = self._account.guards.get(message.key.seq)
        if isinstance(item, Live):
            fresh = message.samples - (guard.samples if guard else 0)
            return Record(Kind.BATCH, message.key.seq, message.samples, max(0, fresh), message.payload)
        return Record(Kind.FRAGMENT, message.key.seq, message.samples, message.samples, message.payload)

    def _stored(self, item: Live | _Fragment, record: Record, place: Place) -> None:
        key, guards = item.message.key, self._account.guards
        if isinstance(item, Live):
            covered = record.samples - record.fresh
            self._queue.stored(key, Stored(key, (place,), record.samples, covered))
            guards.pop(key.seq, None)
        else:
            guard = guards.get(key.seq, Guard((), 0, 0))
            guards[key.seq] = Guard((*guard.places, place), guard.samples + record.samples, item.at_ns)
            self._fragments.remove(item)

    def _relieve(self, now_ns: int) -> None:
        """Too much in memory: to the journal, due or not; what it cannot take is lost by the policy."""
        if self._usable(now_ns):
            self._store([*self._queue.live()], now_ns)
        while self._queue.memory_bytes > MEMORY_BYTES:
            message = self._queue.drop_live(newest=self._writer.drop_newest)
            if message is None:
                return
            self._account.lose(message.key, message.samples)


def _within(most: int, sizes: list[int]) -> int:
    """How many of the first sizes add up to at most `most`; one at least."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > most and count:
            return count
    return len(sizes)
