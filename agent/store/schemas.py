"""Schema messages in, the same ones out after a restart: a small ring of its own, written only when one is new."""

import logging
from collections.abc import Mapping

from agent.store.fs import FileSystem
from agent.store.journal import Journal, Survey, fits, look_into, new_journal, open_journal
from agent.store.pages import FIRST, FileKind, Geometry, Kind, Place, Record, Stamp

SCHEMA_BYTES = 1 << 20  # about 80 configurations of 200 tags; the oldest that this run does not use go first
HASH_BYTES = 8

log = logging.getLogger(__name__)


class SchemaBook:
    """All schemas by their hash. Trouble with the file costs durability, never a schema of this run."""

    def __init__(self, fs: FileSystem, path: str, page_bytes: int) -> None:
        self._fs = fs
        self._path = path
        self._geometry = Geometry(page_bytes, SCHEMA_BYTES // page_bytes)
        self._journal: Journal | None = None
        self._schemas: dict[bytes, bytes] = {}
        self._places: dict[bytes, int] = {}  # page where it begins, of those in the file
        self._current: set[bytes] = set()  # those of this run
        self._too_large: set[bytes] = set()  # for the file, beside the others

    def load(self) -> None:
        """Read the file, once. OSError: it cannot be had."""
        if self._journal:
            return
        journal, survey = open_journal(self._fs, self._path, self._geometry, FileKind.SCHEMAS)
        self._read_all(journal, survey)
        if fits(journal, survey, self._geometry):
            self._journal = journal
            return
        journal.close()
        self._places.clear()  # so that the next write() puts them all into the new file
        self._journal = new_journal(self._fs, self._path, self._geometry, FileKind.SCHEMAS)

    def keep_in_place(self) -> None:
        """Make the file anew when it was deleted, replaced or cut short; write() fills it. OSError: not now."""
        journal = self._journal
        if journal and not (journal.in_place and journal.is_whole):
            log.error("%s was deleted, replaced or cut short under us: made anew", self._path)
            self.close()
            self._places.clear()
        self.load()

    def look(self) -> dict[bytes, bytes]:
        """What the file holds, without changing it."""
        journal, survey = look_into(self._fs, self._path, FileKind.SCHEMAS)
        self._read_all(journal, survey)
        journal.close()
        return self.all()

    def put(self, schemas: Mapping[bytes, bytes]) -> None:
        """Schemas of this run."""
        self._schemas.update(schemas)
        self._current.update(schemas)

    def all(self) -> dict[bytes, bytes]:
        """Every schema known."""
        return dict(self._schemas)

    def write(self, stamp: Stamp) -> int:
        """Write those that the file lacks; returns bytes written. OSError: not now."""
        lacking = [name for name in self._schemas if name not in self._places and name not in self._too_large]
        if not lacking or self._journal is None:
            return 0
        return self._commit(self._journal, stamp, lacking)

    def close(self) -> None:
        """Give the file back."""
        if self._journal:
            self._journal.close()
            self._journal = None

    def _commit(self, journal: Journal, stamp: Stamp, names: list[bytes]) -> int:
        """Append; the ring's oldest page makes room, and what this run needs of it is written again."""
        while True:
            journal.tail = min(self._places.values(), default=journal.sequence)
            commit = journal.pack(stamp, [Record(Kind.SCHEMA, 0, 0, 0, name + self._schemas[name]) for name in names])
            if len(commit.pages) <= journal.free * self._geometry.page_bytes:
                break
            if not self._places:
                self._too_large.add(max(names, key=lambda name: len(self._schemas[name])))
                log.warning("schemas of %d bytes do not fit %s: without the largest", len(commit.pages), self._path)
                return 0
            names += self._drop_oldest_page()
        journal.write(commit)
        self._places.update({name: place.sequence for name, place in zip(names, commit.places, strict=True)})
        return len(commit.pages)

    def _drop_oldest_page(self) -> list[bytes]:
        """Forget the schemas that begin there, and return those that are needed all the same."""
        page = min(self._places.values())
        dropped = [name for name, place in self._places.items() if place == page]
        for name in dropped:
            del self._places[name]
            if name not in self._current:
                del self._schemas[name]
        return [name for name in dropped if name in self._current]

    def _read_all(self, journal: Journal, survey: Survey) -> None:
        for _, pieces in journal.good_pages(survey.slots):
            for piece in pieces:
                if piece.kind == Kind.SCHEMA and piece.flags & FIRST and piece.sequence >= journal.tail:
                    self._read(journal, Place(piece.sequence, piece.at, 0))

    def _read(self, journal: Journal, place: Place) -> None:
        try:
            _, record = journal.read(place)
        except (ValueError, OSError) as error:
            log.warning("a schema is damaged: %s", error)
            return
        name = record[:HASH_BYTES]
        self._schemas.setdefault(name, record[HASH_BYTES:])
        self._places[name] = place.sequence
