"""Records in, on the medium together with the state of the account; and whether the medium takes anything at all."""

import errno
import logging
from collections.abc import Callable
from typing import NamedTuple

from agent.config.model import Store as Settings
from agent.model import NS_PER_S
from agent.store.account import Account
from agent.store.fs import FileSystem
from agent.store.journal import Journal
from agent.store.pages import Commit, Geometry, Place, Record, Stamp

RESERVED_PAGES = 16  # kept free of batches: start, cursor and stop pages never have to evict one
MIN_PAGES = 16  # a ring smaller than this could not hold one batch beside its reserve
COMMIT_BYTES = 1 << 20  # payload in one commit, so that its pages are built in bounded memory
CURSOR_LAG_NS = 10 * NS_PER_S  # acknowledgements of stored batches are written at most this often
RETRY_NS = 10 * NS_PER_S  # between attempts to use a medium that failed
NOT_OURS = "let this user write there, or give [store] another path"
REMEDIES = {
    errno.EACCES: NOT_OURS,
    errno.EPERM: NOT_OURS,
    errno.EROFS: "mount it for writing, or give [store] another path",
    errno.ENOSPC: "make room, or journal_bytes smaller",
}

log = logging.getLogger(__name__)


class Medium(NamedTuple):
    """Where and how a store writes."""

    fs: FileSystem
    wall_ns: Callable[[], int]
    page_bytes: int


class Writer:
    """Commits to the journal, as soon as there is one. What it cannot write it leaves to its caller, with an alarm."""

    def __init__(self, settings: Settings, medium: Medium, account: Account) -> None:
        self.fs = medium.fs
        self.geometry = Geometry(medium.page_bytes, max(MIN_PAGES, settings.journal_bytes // medium.page_bytes))
        self.drop_newest = settings.when_full == "drop-newest"
        self.journal: Journal | None = None
        self.batch_bytes = self.upkeep_bytes = 0  # pages with batches or fragments; all others
        self.restored = 0  # times the journal had been deleted, replaced or cut short, and was made anew
        self.alarm = ""  # why nothing can be written
        self.retry_ns = 0
        self.cursor_due_ns: int | None = None  # when what the account has not told yet is to be written
        self._wall_ns = medium.wall_ns
        self._directory = settings.path
        self._account = account
        self._reserve = min(RESERVED_PAGES, self.geometry.pages // 8)

    @property
    def sequence(self) -> int:
        """The page that will be written next."""
        return self.journal.sequence if self.journal else 0

    def stamp(self, now_ns: int) -> Stamp:
        """Who writes at `now_ns`: the run that keeps this account."""
        return Stamp(self._account.epoch, now_ns, self._wall_ns())

    # ---- commits -----------------------------------------------------------------------------------------------

    def commit(self, records: list[Record], stamp: Stamp, now_ns: int, *, clean: bool = False) -> list[Place] | None:
        """Write records and the state in one go; None: no room, or the medium fails."""
        commit = self._fit(records, stamp, clean=clean)
        if commit is None or not self._write(commit, now_ns):
            return None
        self._heal()
        self._account.untold = False
        self.cursor_due_ns = None
        if records:
            self.batch_bytes += len(commit.pages)
        else:
            self.upkeep_bytes += len(commit.pages)
        return commit.places[:-1]

    def upkeep(self, now_ns: int, *, clean: bool = False) -> None:
        """A page that carries only the state and the tail."""
        self.commit([], self.stamp(now_ns), now_ns, clean=clean)

    def probe(self, now_ns: int) -> bool:
        """Whether the journal's file can be written, wherever it is now; that it can ends no alarm."""
        commit = self._fit([], self.stamp(now_ns), clean=False)
        return commit is not None and self._write(commit, now_ns)

    def write_cursor(self, now_ns: int) -> None:
        """Acknowledgements of stored batches, lazily: a crash before this only sends those batches once more."""
        if self._account.untold and self.cursor_due_ns is None:
            self.cursor_due_ns = now_ns + CURSOR_LAG_NS
        if self.cursor_due_ns is not None and now_ns >= self.cursor_due_ns:
            self.upkeep(now_ns)

    def _write(self, commit: Commit, now_ns: int) -> bool:
        if self.journal is None:
            return False
        try:
            self.journal.write(commit)
        except OSError as error:
            self.fail(error, now_ns)
            return False
        return True

    def _fit(self, records: list[Record], stamp: Stamp, *, clean: bool) -> Commit | None:
        """Pack; where the ring is full make room and pack again, because the state now tells of the eviction."""
        journal = self.journal
        while journal:
            needed = self._account.needed(Place(journal.sequence, 0, journal.samples))
            journal.tail = needed.place.sequence
            commit = journal.pack(stamp, [*records, self._account.state(needed, clean=clean)])
            pages = len(commit.pages) // self.geometry.page_bytes
            lacking = pages + (self._reserve if records else 0) - journal.free
            if lacking <= 0:
                return commit
            if self.drop_newest or pages > self.geometry.pages - self._reserve:
                return None
            self._account.evict_before(journal.tail + lacking)
        return None

    def close(self) -> None:
        """Give the journal back."""
        if self.journal:
            self.journal.close()
            self.journal = None

    # ---- failure, healing --------------------------------------------------------------------------------------

    def rests(self, now_ns: int) -> bool:
        """Whether the medium has failed, and it is not yet time for another attempt."""
        return bool(self.alarm) and now_ns < self.retry_ns

    def works(self, now_ns: int, journal: Journal) -> bool:
        """Whether a medium can be written that may have failed before.

        First as it is; where even a page of our own cannot be written, the medium may have come back as another.
        """
        if self.alarm:
            self.upkeep(now_ns)
        if self.alarm:
            try:
                journal.reopen()
            except OSError as error:
                self.fail(error, now_ns)
            else:
                self.upkeep(now_ns)
        return not self.alarm

    def fail(self, error: OSError, now_ns: int) -> None:
        """The medium does not work."""
        why = str(error) or type(error).__name__
        remedy = REMEDIES.get(error.errno or 0)
        why += f"; {remedy}" if remedy else ""
        if not self.alarm:
            log.error("the store at %s cannot be written, working in memory: %s", self._directory, why)
        self.alarm = why
        self.retry_ns = now_ns + RETRY_NS

    def _heal(self) -> None:
        if self.alarm:
            log.warning("the store at %s can be written again", self._directory)
        self.alarm = ""
