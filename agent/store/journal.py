"""Records in, places on a ring of pages in one preallocated file out; back by place, or all of them after a crash.

Invariants:
- The file has its final size from the first start on. A commit overwrites the oldest pages in place: one write (two
  where the ring wraps) of whole pages and one flush. No rename, no truncation, no metadata.
- A committed page is never written again before the tail has passed it, so a write that is cut short can only
  destroy pages of its own commit or pages nobody needs.
- Everything is derived from the pages themselves; there is no second file that would have to agree with them.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath

from agent._native.page import PAGE_SIZES, Packer, join
from agent.store.fs import FileSystem
from agent.store.pages import (
    FIRST,
    Commit,
    FileKind,
    Geometry,
    Head,
    Piece,
    Place,
    Record,
    Stamp,
    Status,
    pages_of,
    read_heads,
    read_pieces,
)

SCAN_BYTES = 1 << 20  # read at a time when a file is scanned: few system calls, little memory

log = logging.getLogger(__name__)


class Survey:
    """What a scan of a whole file found: the good pages, and how many there are of each other status."""

    def __init__(self, geometry: Geometry, kind: FileKind) -> None:
        self.geometry = geometry
        self.kind = kind
        self.counts = dict.fromkeys(Status, 0)
        self.sequence = 0  # of the newest good page
        self.tail = 1
        self.slots: dict[int, int] = {}  # of good pages, in the order of writing
        self.in_place = True  # every good page stands where this geometry puts it

    def add(self, slot: int, head: Head) -> None:
        """One page, in the order of slots."""
        if head.status != Status.GOOD:
            self.counts[Status(head.status)] += 1
        elif head.kind != self.kind or not head.sequence:
            self.counts[Status.FOREIGN] += 1
        else:
            self.counts[Status.GOOD] += 1
            self.tail = max(self.tail, head.tail)
            self.sequence = max(self.sequence, head.sequence)
            self.slots[head.sequence] = slot
            self.in_place = self.in_place and head.sequence % self.geometry.pages == slot

    def finish(self) -> "Survey":
        """Put the pages in order."""
        self.slots = {sequence: self.slots[sequence] for sequence in sorted(self.slots)}
        return self

    @property
    def good(self) -> int:
        """Pages that are as they were written."""
        return self.counts[Status.GOOD]

    @property
    def blank(self) -> bool:
        """The file was never written to."""
        return self.counts[Status.BLANK] == sum(self.counts.values())


class Journal:
    """The ring. `tail` is the owner's to set: pages before it may be overwritten."""

    def __init__(self, fs: FileSystem, path: str, file: int, geometry: Geometry, kind: FileKind) -> None:
        self.path = path
        self.geometry = geometry
        self.sequence = 1  # of the next page
        self.samples = 0  # fresh samples in all records so far
        self.tail = 1
        self._fs = fs
        self._file = file
        self._kind = kind
        self._slots: dict[int, int] | None = None  # where pages stand, if not where the geometry puts them

    @property
    def folder(self) -> str:
        """Where the file is."""
        return str(PurePosixPath(self.path).parent)

    @property
    def free(self) -> int:
        """Pages that can be written without overwriting one that is needed."""
        return self.geometry.pages - (self.sequence - self.tail)

    def resume(self, survey: Survey) -> None:
        """Go on where the scanned file ends."""
        self.tail = survey.tail
        self.sequence = survey.sequence + 1
        self._slots = None if survey.in_place else survey.slots

    def good_pages(self, sequences: Iterable[int]) -> Iterator[tuple[Head, list[Piece]]]:
        """Those pages that are still good."""
        for sequence in sequences:
            try:
                page = self._page(sequence)
            except OSError as error:
                log.warning("cannot read page %d of %s: %s", sequence, self.path, error)
                continue
            (head,) = read_heads(page, self.geometry.page_bytes)
            if head.status == Status.GOOD and head.sequence == sequence:
                yield head, read_pieces(page)

    def pack(self, stamp: Stamp, records: list[Record]) -> Commit:
        """Lay records out on the pages that come next; nothing is written."""
        packer = Packer(
            self.geometry.page_bytes,
            self._kind,
            stamp.epoch,
            self.sequence,
            self.tail,
            self.samples,
            stamp.boot_ns,
            stamp.wall_ns,
        )
        places = []
        samples = self.samples
        for record in records:
            places.append(Place(*packer.add(*record), samples))
            samples += record.fresh
        pages, next_sequence, next_samples = packer.finish()
        return Commit(pages, places, next_sequence, next_samples)

    def write(self, commit: Commit) -> None:
        """Write and flush. OSError: the commit is not on the medium, and the next one goes to the same pages."""
        start = self._offset(self.sequence)
        fits = self.geometry.bytes - start
        self._fs.write(self._file, commit.pages[:fits], start)
        if len(commit.pages) > fits:
            self._fs.write(self._file, commit.pages[fits:], 0)
        self._fs.sync(self._file)
        self.sequence = commit.next_sequence
        self.samples = commit.next_samples

    def read(self, place: Place) -> tuple[Piece, bytes]:
        """The record at a place. ValueError: it is damaged; OSError: it cannot be read now."""
        page = self._page(place.sequence)
        first = next((p for p in read_pieces(page) if p.at == place.at and p.flags & FIRST), None)
        if first is None or first.sequence != place.sequence:
            raise ValueError(f"no record begins at byte {place.at} of page {place.sequence}")
        span = range(place.sequence + 1, place.sequence + pages_of(first, self.geometry.page_bytes))
        run = page + b"".join(map(self._page, span))
        return first, join(run, self.geometry.page_bytes, first.at, first.total)

    def reopen(self) -> None:
        """Take hold of the file again after its medium went away. OSError: it is not back, or not the same."""
        self.close()
        self._file = self._fs.open(self.path)
        try:
            self._check_newest()
        except OSError:
            self.close()
            raise

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to our file. True, too, when there is no telling: the next write finds out."""
        try:
            return self._fs.is_at(self._file, self.path)
        except OSError:
            return True

    @property
    def is_whole(self) -> bool:
        """Whether the file still has its size. True, too, when there is no telling."""
        try:
            return self._fs.size(self._file) >= self.geometry.bytes
        except OSError:
            return True

    def mend(self) -> None:
        """Give a file that was cut short its size back. OSError: there is no room."""
        self._fs.allocate(self._file, self.geometry.bytes)

    def discard(self) -> None:
        """Give the file back, and its space."""
        _give_up(self._fs, self._file)
        self._file = -1

    def replace(self, path: str) -> None:
        """Take the place of another file."""
        self._fs.rename(self.path, path)
        self.path = path

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            self._fs.close(self._file)
            self._file = -1

    def _check_newest(self) -> None:
        newest = self._fs.read(self._file, self.geometry.page_bytes, self._offset(self.sequence - 1))
        if self.sequence > 1 and newest[16:24] != (self.sequence - 1).to_bytes(8, "little"):
            raise OSError(f"{self.path} is not the file it was")

    def _offset(self, sequence: int) -> int:
        slot = sequence % self.geometry.pages if self._slots is None else self._slots[sequence]
        return slot * self.geometry.page_bytes

    def _page(self, sequence: int) -> bytes:
        if self._slots is not None and sequence not in self._slots:
            raise ValueError(f"page {sequence} is lost")
        page = self._fs.read(self._file, self.geometry.page_bytes, self._offset(sequence))
        if len(page) != self.geometry.page_bytes:
            raise ValueError(f"page {sequence} is past the end of the file")
        return page


def open_journal(fs: FileSystem, path: str, geometry: Geometry, kind: FileKind) -> tuple[Journal, Survey]:
    """The file at `path`, scanned; made, extended or, when nothing in it is ours, moved aside and made anew.

    A file of another geometry is left as it is: its owner reads it out into a new one. OSError: no such file can be
    had here.
    """
    file = fs.open(path)
    try:
        survey = _best_survey(fs, file, geometry, kind)
        if not survey.good and not survey.blank:
            fs.rename(path, path + ".bad")
            log.warning("%s has no page of this version of the store: moved to %s.bad, starting empty", path, path)
            fs.close(file)
            file = fs.open(path)
        journal = Journal(fs, path, file, survey.geometry if survey.good else geometry, kind)
        if survey.good:
            journal.resume(survey)
        if fits(journal, survey, geometry):
            fs.allocate(file, geometry.bytes)
    except OSError:
        fs.close(file)
        raise
    return journal, survey


def look_into(fs: FileSystem, path: str, kind: FileKind) -> tuple[Journal, Survey]:
    """The file as it is, whatever its geometry; nothing is changed."""
    file = fs.open(path)
    survey = _best_survey(fs, file, Geometry(PAGE_SIZES[0], fs.size(file) // PAGE_SIZES[0]), kind)
    journal = Journal(fs, path, file, survey.geometry, kind)
    journal.resume(survey)
    return journal, survey


def fits(journal: Journal, survey: Survey, geometry: Geometry) -> bool:
    """Whether the journal can go on in its file, or must be copied into one of this geometry."""
    return not survey.good or (survey.in_place and journal.geometry == geometry)


def new_journal(fs: FileSystem, path: str, geometry: Geometry, kind: FileKind) -> Journal:
    """An empty one, whatever was at `path` before."""
    file = fs.open(path)
    try:
        fs.allocate(file, 0)
        fs.allocate(file, geometry.bytes)
    except OSError:
        _give_up(fs, file)
        raise
    return Journal(fs, path, file, geometry, kind)


def _give_up(fs: FileSystem, file: int) -> None:
    """Close a file that was to become a journal, and leave it empty: on a full disk every block counts."""
    with suppress(OSError):
        fs.allocate(file, 0)
    fs.close(file)


def _best_survey(fs: FileSystem, file: int, geometry: Geometry, kind: FileKind) -> Survey:
    """By the configured page size; when that finds nothing, by the others."""
    configured = _survey(fs, file, geometry, kind)
    if configured.good or configured.blank:
        return configured
    others = [Geometry(size, geometry.bytes // size) for size in PAGE_SIZES if size != geometry.page_bytes]
    return max((_survey(fs, file, other, kind) for other in others), key=lambda survey: survey.good)


def _survey(fs: FileSystem, file: int, geometry: Geometry, kind: FileKind) -> Survey:
    survey = Survey(geometry, kind)
    size = fs.size(file) // geometry.page_bytes * geometry.page_bytes
    for start in range(0, size, SCAN_BYTES):
        stretch = _read_all(fs, file, min(SCAN_BYTES, size - start), start, geometry)
        for slot, head in enumerate(read_heads(stretch, geometry.page_bytes), start // geometry.page_bytes):
            survey.add(slot, head)
    if any(fs.read(file, geometry.page_bytes, size)):  # less than a page, and not zeros
        survey.counts[Status.DAMAGED] += 1
    return survey.finish()


def _read_all(fs: FileSystem, file: int, count: int, start: int, geometry: Geometry) -> bytes:
    """A stretch of the file; what the medium does not give any more reads as damage, page by page."""
    try:
        return fs.read(file, count, start)
    except OSError:
        span = range(start, start + count, geometry.page_bytes)
        return b"".join(_read_page(fs, file, geometry.page_bytes, offset) for offset in span)


def _read_page(fs: FileSystem, file: int, page_bytes: int, offset: int) -> bytes:
    try:
        return fs.read(file, page_bytes, offset)
    except OSError as error:
        log.warning("cannot read byte %d of the store: %s", offset, error)
        return b"\xff" * page_bytes
