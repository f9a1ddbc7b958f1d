"""Encoded batches in, kept through outages and power cuts, out in order until acknowledged."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from agent.config.model import Store as Settings
from agent.errors import FieldtapError
from agent.model import NS_PER_S, BatchKey, Gap, Message
from agent.store.fs import FileSystem, RealFileSystem
from agent.store.journal import Journal, Survey, fits, new_journal, open_journal
from agent.store.pages import Commit, FileKind, Geometry, Kind, Place, Record, Stamp
from agent.store.queue import Live, Queue
from agent.store.recovery import Stored
from agent.store.schemas import SchemaBook
from agent.store.state import Acknowledged, GapLedger, Range, State, encode_state, merge_gaps
from agent.store.survivors import survivors

JOURNAL_FILE = "journal"
SCHEMA_FILE = "schemas"
PAGE_BYTES = 4096  # what a cut may destroy around the page being written is a flash page: 4 KiB or more

MEMORY_BYTES = 4 << 20  # live batches in memory; what exceeds it goes to the journal at once
COMMIT_BYTES = 1 << 20  # payload in one commit, so that its pages are built in bounded memory
RESERVED_PAGES = 16  # kept free of batches: start, cursor and stop pages never have to evict one
MIN_PAGES = 16  # a ring smaller than this could not hold one batch beside its reserve
CURSOR_LAG_NS = 10 * NS_PER_S  # acknowledgements of stored batches are written at most this often
RETRY_NS = 10 * NS_PER_S  # between attempts to use a medium that failed
MAX_READ_FAILURES = 3  # attempts, RETRY_NS apart, before an unreadable batch is given up

Merge = Callable[[Sequence[bytes], Mapping[bytes, bytes]], bytes]  # fragments of one batch, schemas -> the batch

log = logging.getLogger(__name__)


class StoreStats(NamedTuple):
    """Counters since the start."""

    bytes_written: int  # pages with batches or fragments; 0 while the link acknowledges within the loss window
    upkeep_bytes: int  # start, cursor, stop and schema pages
    pending_batches: int
    memory_bytes: int
    evicted: int  # batches given up because there was no room
    damaged_pages: int
    gaps: int
    alarm: str  # why nothing can be written; empty: all is well


class Medium(NamedTuple):
    """Where and how a store writes."""

    fs: FileSystem
    wall_ns: Callable[[], int]
    page_bytes: int


class _Fragment(NamedTuple):
    """A checkpoint in memory."""

    message: Message
    due_ns: int
    at_ns: int  # when it was made: it holds all samples of its batch up to then


class _Guard(NamedTuple):
    """Fragments in the journal that stand in for a batch that is not."""

    place: Place  # of the first of them
    samples: int
    until_ns: int  # samples older than this are in them


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
        fs: FileSystem | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        page_bytes: int = PAGE_BYTES,
    ) -> "Store":
        """Find everything earlier runs left. Never fails: without a usable medium it works in memory, with an alarm."""
        store = cls(settings, epoch, merge, Medium(fs or RealFileSystem(), wall_ns, page_bytes))
        store._attach(now_ns)
        return store

    def __init__(self, settings: Settings, epoch: bytes, merge: Merge, medium: Medium) -> None:
        """Use open()."""
        self.recovered_gaps: list[Gap] = []  # for the log; take_gaps() hands them out like all others
        self._epoch = epoch
        self._merge = merge
        self._fs = medium.fs
        self._wall_ns = medium.wall_ns
        self._directory = PurePosixPath(settings.path)
        self._geometry = Geometry(medium.page_bytes, max(MIN_PAGES, settings.journal_bytes // medium.page_bytes))
        self._reserve = min(RESERVED_PAGES, self._geometry.pages // 8)
        self._window_ns = int(settings.loss_window_s * NS_PER_S)
        self._drop_newest = settings.when_full == "drop-newest"
        self._journal: Journal | None = None
        self._schemas = SchemaBook(medium.fs, str(self._directory / SCHEMA_FILE), medium.page_bytes)
        self._queue = Queue()
        self._fragments: list[_Fragment] = []  # of the batch that is open
        self._guards: dict[int, _Guard] = {}  # by seq of this epoch
        self._acknowledged = Acknowledged()  # batches in the journal that are not needed
        self._reported: list[tuple[int, int]] = []
        self._gaps = GapLedger()
        self._next_seq = 0
        self._cursor_moved = False  # acknowledgements that are not written yet ...
        self._cursor_due_ns: int | None = None  # ... and when they are to be
        self._alarm = ""
        self._retry_ns = 0
        self._unreadable = False  # the next stored batch could not be read; the next tick allows another attempt
        self._read_failures = 0  # of that batch
        self._bytes_written = self._upkeep_bytes = self._evicted = self._damaged_pages = 0

    # ---- in ----------------------------------------------------------------------------------------------------

    def put(self, message: Message, oldest_ns: int, now_ns: int) -> None:
        """A batch is complete; its oldest sample is of `oldest_ns`. It stays in memory for now."""
        seq = self._check(message)
        guard = self._guards.get(seq)
        self._fragments = [fragment for fragment in self._fragments if fragment.message.key.seq > seq]
        self._next_seq = seq + 1
        unprotected_ns = max(oldest_ns, guard.until_ns) if guard else oldest_ns
        self._queue.put(Live(message, unprotected_ns + self._window_ns))
        self._gaps.carried_by(message.key)
        if self._queue.memory_bytes > MEMORY_BYTES:
            self._relieve(now_ns)

    def checkpoint(self, message: Message, oldest_ns: int, now_ns: int) -> None:
        """New samples of the batch that is still open, under the key it will have."""
        self._check(message)
        self._fragments.append(_Fragment(message, oldest_ns + self._window_ns, now_ns))

    def put_schemas(self, schemas: Mapping[bytes, bytes]) -> None:
        """The schemas this run's batches use; written by the next tick when there is a new one."""
        self._schemas.put(schemas)

    def schemas(self) -> dict[bytes, bytes]:
        """Old and new: all that any batch in the journal may need."""
        return self._schemas.all()

    def _check(self, message: Message) -> int:
        epoch, seq = message.key
        if epoch != self._epoch or seq < self._next_seq:
            raise ValueError(f"batch {epoch.hex()}/{seq} cannot follow {self._epoch.hex()}/{self._next_seq - 1}")
        return seq

    # ---- out: model.Outbox -------------------------------------------------------------------------------------

    def take_live(self) -> Message | None:
        """The next batch of this run that waits in memory."""
        return self._queue.take_live()

    def take_backlog(self) -> Message | None:
        """The oldest batch that only the journal holds."""
        while (stored := self._queue.next_stored()) and not self._unreadable:
            try:
                message = self._read(stored)
            except OSError as error:
                self._cannot_read(stored, error)
            else:
                if message is not None:
                    self._queue.take_stored()
                    return message
                self._give_up(self._queue.skip_stored())
        return None

    def acknowledge(self, key: BatchKey) -> None:
        """The broker has it."""
        if self._release(key) is not None:
            self._cursor_moved = self._gaps.arrived(key) or self._cursor_moved

    def reject(self, key: BatchKey, reason: str) -> None:
        """The broker refuses it for good: a counted gap, so that it cannot hold up the batches behind it."""
        samples = self._release(key)
        if samples is not None:
            log.error("batch %d is given up, the broker refuses it: %s", key.seq, reason)
            self._gaps.add(Gap(*key, key.seq, samples, "rejected"))
            self._gaps.lost(key)
            self._cursor_moved = True

    def _release(self, key: BatchKey) -> int | None:
        """Forget a taken batch, here and on the journal; its samples, None when it was not taken."""
        released = self._queue.release(key)
        if released is None:
            return None
        samples, stored = released
        guard = self._guards.pop(key.seq, None) if key.epoch == self._epoch else None
        if guard and self._journal:
            self._acknowledged.add(Range.of(key), self._journal.sequence)
        if stored and stored.places:
            self._acknowledged.add(Range.of(key), stored.places[-1].sequence)
        self._cursor_moved = self._cursor_moved or bool(stored or guard)
        return samples

    def give_back(self) -> None:
        """The link is down."""
        for lost in self._queue.give_back():
            self._lose(lost.key, lost.samples)

    def take_gaps(self) -> list[Gap]:
        """Losses that the next batch put() is to announce; handed out again if that batch is lost or the agent dies."""
        return self._gaps.hand_out()

    # ---- time --------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> int | None:
        """Write what has waited for the length of the loss window; returns when it wants to be called again."""
        self._unreadable = False
        if self._usable(now_ns):
            self._store_due(now_ns)
            self._write_cursor(now_ns)
            self._upkeep_bytes += self._schemas.write(self._stamp(now_ns))
        if self._queue.memory_bytes > MEMORY_BYTES:
            self._relieve(now_ns)
        return self._deadline()

    def close(self, now_ns: int) -> None:
        """Write everything that is not acknowledged, and that this run ended well."""
        if self._usable(now_ns):
            self._store([*self._queue.live(), *self._fragments], now_ns)
            self._upkeep_bytes += self._schemas.write(self._stamp(now_ns))
            self._upkeep(now_ns, clean=not self._queue.memory_bytes)
        self._schemas.close()
        if self._journal:
            self._journal.close()
            self._journal = None

    def stats(self) -> StoreStats:
        """Counters since the start."""
        return StoreStats(
            bytes_written=self._bytes_written,
            upkeep_bytes=self._upkeep_bytes,
            pending_batches=len(self._queue),
            memory_bytes=self._queue.memory_bytes,
            evicted=self._evicted,
            damaged_pages=self._damaged_pages,
            gaps=self._gaps.counted,
            alarm=self._alarm,
        )

    def _deadline(self) -> int | None:
        if self._alarm:
            return self._retry_ns
        dues = [live.due_ns for live in self._queue.live()][:1] + [fragment.due_ns for fragment in self._fragments[:1]]
        if self._cursor_due_ns is not None:
            dues.append(self._cursor_due_ns)
        return min(dues, default=None)

    # ---- memory to journal -------------------------------------------------------------------------------------

    def _store_due(self, now_ns: int) -> None:
        """Batches up to the last one that is due, so that the journal keeps their order; fragments likewise."""
        lives = list(self._queue.live())
        due = max((i for i, live in enumerate(lives, 1) if live.due_ns <= now_ns), default=0)
        self._store([*lives[:due], *(f for f in self._fragments if f.due_ns <= now_ns)], now_ns)

    def _store(self, items: Sequence[Live | _Fragment], now_ns: int) -> bool:
        """Write batches, then fragments, in commits of bounded size. What cannot be written stays in memory: False."""
        while items:
            count = _within(COMMIT_BYTES, [len(item.message.payload) for item in items])
            records = [self._record(item) for item in items[:count]]
            places = self._commit(records, self._stamp(now_ns), now_ns)
            if places is None and self._drop_newest and count > 1:  # full: as many as still fit
                return all(self._store([item], now_ns) for item in items)
            if places is None:
                return False
            for item, record, place in zip(items[:count], records, places, strict=True):
                self._stored(item, record, place)
            items = items[count:]
        return True

    def _record(self, item: Live | _Fragment) -> Record:
        message = item.message
        guard = self._guards.get(message.key.seq)
        if isinstance(item, Live):
            fresh = message.samples - (guard.samples if guard else 0)
            return Record(Kind.BATCH, message.key.seq, message.samples, max(0, fresh), message.payload)
        return Record(Kind.FRAGMENT, message.key.seq, message.samples, message.samples, message.payload)

    def _stored(self, item: Live | _Fragment, record: Record, place: Place) -> None:
        key = item.message.key
        if isinstance(item, Live):
            covered = record.samples - record.fresh
            self._queue.stored(key, Stored(key, (place,), record.samples, covered))
            self._guards.pop(key.seq, None)
        else:
            guard = self._guards.get(key.seq, _Guard(place, 0, 0))
            self._guards[key.seq] = _Guard(guard.place, guard.samples + record.samples, item.at_ns)
            self._fragments.remove(item)

    def _relieve(self, now_ns: int) -> None:
        """Too much in memory: to the journal, due or not; what it cannot take is lost by the policy."""
        if self._usable(now_ns):
            self._store([*self._queue.live()], now_ns)
        while self._queue.memory_bytes > MEMORY_BYTES:
            message = self._queue.drop_live(newest=self._drop_newest)
            if message is None:
                return
            self._lose(message.key, message.samples)

    # ---- commits -----------------------------------------------------------------------------------------------

    def _commit(self, records: list[Record], stamp: Stamp, now_ns: int, *, clean: bool = False) -> list[Place] | None:
        """Write records and the state in one go; None: no room, or the medium fails."""
        commit = self._fit(records, stamp, clean=clean)
        if commit is None or self._journal is None:
            return None
        try:
            self._journal.write(commit)
        except OSError as error:
            self._fail(error, now_ns)
            return None
        self._heal()
        self._cursor_moved = False
        self._cursor_due_ns = None
        if records:
            self._bytes_written += len(commit.pages)
        else:
            self._upkeep_bytes += len(commit.pages)
        return commit.places[:-1]

    def _fit(self, records: list[Record], stamp: Stamp, *, clean: bool) -> Commit | None:
        """Pack; where the ring is full make room and pack again, because the state now tells of the eviction."""
        journal = self._journal
        while journal:
            needed = self._needed(journal)
            journal.tail = needed[0].sequence
            commit = journal.pack(stamp, [*records, self._state_record(needed, clean=clean)])
            pages = len(commit.pages) // self._geometry.page_bytes
            lacking = pages + (self._reserve if records else 0) - journal.free
            if lacking <= 0:
                return commit
            if self._drop_newest or pages > self._geometry.pages - self._reserve:
                return None
            self._evict(journal.tail + lacking)
        return None

    def _evict(self, sequence: int) -> None:
        """Pages before `sequence` are about to be overwritten."""
        for stored in self._queue.evict_before(sequence):
            self._lose(stored.key, stored.samples)
        self._guards = {seq: guard for seq, guard in self._guards.items() if guard.place.sequence >= sequence}

    def _needed(self, journal: Journal) -> tuple[Place, BatchKey, int]:
        """The first batch that is still needed: where it begins, its key, and how much of it earlier fragments have."""
        places = [(guard.place, BatchKey(self._epoch, seq), 0) for seq, guard in self._guards.items()]
        oldest = self._queue.oldest_stored()
        if oldest:
            places.append((oldest.places[0], oldest.key, oldest.covered))
        if not places:
            self._acknowledged.clear()
            self._reported.clear()
            return Place(journal.sequence, 0, journal.samples), BatchKey(self._epoch, self._next_seq), 0
        needed = min(places)
        self._acknowledged.forget_before(needed[0].sequence, needed[1])
        return needed

    def _state_record(self, needed: tuple[Place, BatchKey, int], *, clean: bool) -> Record:
        gaps = list(self._gaps.all())
        for stored in self._queue.overwritten():  # should the agent die before it knows what became of them
            merge_gaps(gaps, _evicted(stored.key, stored.samples))
        ranges, reported = self._acknowledged.ranges(), tuple(self._reported)
        state = State(clean, self._next_seq, *needed, ranges, tuple(gaps), reported)
        return Record(Kind.STATE, 0, 0, 0, encode_state(state))

    def _upkeep(self, now_ns: int, *, clean: bool = False) -> None:
        """A page that carries only the state and the tail."""
        self._commit([], self._stamp(now_ns), now_ns, clean=clean)

    def _write_cursor(self, now_ns: int) -> None:
        """Acknowledgements of stored batches, lazily: a crash before this only sends those batches once more."""
        if self._cursor_moved and self._cursor_due_ns is None:
            self._cursor_due_ns = now_ns + CURSOR_LAG_NS
        if self._cursor_due_ns is not None and now_ns >= self._cursor_due_ns:
            self._upkeep(now_ns)

    def _stamp(self, now_ns: int) -> Stamp:
        return Stamp(self._epoch, now_ns, self._wall_ns())

    # ---- journal to memory -------------------------------------------------------------------------------------

    def _read(self, stored: Stored) -> Message | None:
        """None: nothing of it is intact. Fragments are merged; those that are damaged are counted. OSError: not now."""
        parts = [part for place in stored.places if (part := self._read_part(place, stored.key))]
        samples = sum(samples for _, samples in parts)
        if not parts:
            return None
        if not stored.merged:
            return Message(stored.key, parts[0][0], samples, historical=True)
        try:
            payload = self._merge([payload for payload, _ in parts], self._schemas.all())
        except (FieldtapError, ValueError) as error:
            log.warning("the fragments of batch %d do not fit each other: %s", stored.key.seq, error)
            return None
        if samples < stored.samples:
            self._gaps.add(Gap(*stored.key, stored.key.seq, stored.samples - samples, "damaged"))
        return Message(stored.key, payload, samples, historical=True)

    def _read_part(self, place: Place, key: BatchKey) -> tuple[bytes, int] | None:
        if self._journal is None:
            raise OSError("the journal is closed")
        try:
            piece, payload = self._journal.read(place)
        except ValueError as error:
            log.warning("batch %d is damaged: %s", key.seq, error)
            self._damaged_pages += 1
            self._reported.append((place.sequence, place.sequence))
            return None
        return payload, piece.samples

    def _cannot_read(self, stored: Stored, error: OSError) -> None:
        """Try again after the next tick; a batch that alone stays unreadable must not hold up those behind it."""
        log.warning("cannot read batch %d: %s", stored.key.seq, error)
        self._unreadable = True
        self._read_failures += not self._alarm
        if self._read_failures >= MAX_READ_FAILURES:
            self._read_failures = 0
            self._give_up(self._queue.skip_stored())

    def _give_up(self, stored: Stored) -> None:
        """It cannot be read any more."""
        self._acknowledged.add(Range.of(stored.key), stored.places[-1].sequence)
        self._gaps.add(Gap(*stored.key, stored.key.seq, stored.samples, "damaged"))
        self._gaps.lost(stored.key)
        self._cursor_moved = True

    def _lose(self, key: BatchKey, samples: int) -> None:
        """There was no room for it."""
        self._evicted += 1
        self._gaps.add(_evicted(key, samples))
        self._gaps.lost(key)
        self._cursor_moved = True

    # ---- start, failure, healing -------------------------------------------------------------------------------

    def _usable(self, now_ns: int) -> bool:
        """Whether writing may be tried now; after a failure that is every RETRY_NS."""
        if self._alarm and now_ns < self._retry_ns:
            return False
        if self._journal is None:
            return self._attach(now_ns)
        if self._alarm:
            return self._try_again(now_ns, self._journal)
        return True

    def _try_again(self, now_ns: int, journal: Journal) -> bool:
        """First as it is; where even a page of our own cannot be written, the medium may have come back as another."""
        self._upkeep(now_ns)
        if self._alarm:
            try:
                journal.reopen()
            except OSError as error:
                self._fail(error, now_ns)
            else:
                self._upkeep(now_ns)
        return not self._alarm

    def _fail(self, error: OSError, now_ns: int) -> None:
        if not self._alarm:
            log.error("the store at %s cannot be written, working in memory: %s", self._directory, error)
        self._alarm = str(error) or type(error).__name__
        self._retry_ns = now_ns + RETRY_NS

    def _heal(self) -> None:
        if self._alarm:
            log.warning("the store at %s can be written again", self._directory)
        self._alarm = ""

    def _attach(self, now_ns: int) -> bool:
        """Open the journal and take over what it holds."""
        path = str(self._directory / JOURNAL_FILE)
        try:
            self._fs.make_directory(str(self._directory))
            self._schemas.load()
            journal, survey = open_journal(self._fs, path, self._geometry, FileKind.JOURNAL)
            self._take_over(journal, survey, now_ns)
        except OSError as error:
            self._fail(error, now_ns)
            return False
        self._upkeep(now_ns)
        return not self._alarm

    def _take_over(self, journal: Journal, survey: Survey, now_ns: int) -> None:
        """Go on where the last run, or this one before its medium failed, came to an end."""
        found = survivors(journal, survey)
        journal.samples = found.samples
        self._acknowledged = found.acknowledged
        self._reported = found.reported
        self._damaged_pages += found.damaged_pages
        self.recovered_gaps += found.gaps
        for gap in found.gaps:
            self._gaps.add(gap)
        if fits(journal, survey, self._geometry):
            self._journal = journal
            self._queue.recovered(found.stored)
        else:
            self._move(journal, found.stored, now_ns)

    def _move(self, old: Journal, found: list[Stored], now_ns: int) -> None:
        """The configuration asks for another geometry: copy what is pending into a new file, then let it take over."""
        log.warning("%s has another size or page size than configured: moving %d batches", old.path, len(found))
        self._journal = new_journal(self._fs, old.path + ".new", self._geometry, FileKind.JOURNAL)
        try:
            for stored in found:
                self._copy(old, stored, now_ns)
            self._upkeep(now_ns)
            self._journal.replace(old.path)
        except OSError:
            self._journal.close()
            self._journal = None
            self._queue.forget_stored()
            raise
        finally:
            old.close()

    def _copy(self, old: Journal, stored: Stored, now_ns: int) -> None:
        try:
            parts = [old.read(place) for place in stored.places]
        except ValueError:
            self._give_up(stored)
            return
        records = [Record(Kind(p.kind), p.seq, p.samples, p.samples, payload) for p, payload in parts]
        places = self._commit(records, Stamp(stored.key.epoch, now_ns, self._wall_ns()), now_ns)
        if places is not None:
            self._queue.recovered([stored._replace(places=tuple(places), covered=0)])
        elif not self._alarm:
            self._lose(stored.key, stored.samples)


def _evicted(key: BatchKey, samples: int) -> Gap:
    return Gap(*key, key.seq, samples, "evicted")


def _within(most: int, sizes: list[int]) -> int:
    """How many of the first sizes add up to at most `most`; one at least."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > most and count:
            return count
    return len(sizes)
