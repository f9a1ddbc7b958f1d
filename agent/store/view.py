"""A store's directory in, everything that is in it out; read only, also while an agent runs or after a crash."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.errors import StoreError
from agent.model import BatchKey
from agent.store import JOURNAL_FILE, PAGE_BYTES, SCHEMA_FILE
from agent.store.fs import ReadOnlyFileSystem
from agent.store.journal import look_into
from agent.store.pages import FileKind, Place
from agent.store.schemas import SchemaBook
from agent.store.survivors import Survivors, survivors


class Pending(NamedTuple):
    """A batch of the journal."""

    key: BatchKey
    payloads: tuple[bytes, ...]  # one, or those of its fragments, oldest first: it was still open


class View:
    """What `fieldtap store` shows."""

    def __init__(self, directory: Path) -> None:
        """StoreError: there is no store that could be read; PermissionError: not by this user."""
        try:
            self._fs = ReadOnlyFileSystem()
            self._journal, self.survey = look_into(self._fs, str(directory / JOURNAL_FILE), FileKind.JOURNAL)
            self.schemas = self._schemas(directory)
        except PermissionError:
            raise
        except OSError as error:
            raise StoreError(f"{directory} has no journal that can be read: {error.strerror or error}") from error
        self.survivors: Survivors = survivors(self._journal, self.survey)
        self.damaged: list[BatchKey] = []  # batches that pending() could not read, or only in part

    def pending(self) -> Iterator[Pending]:
        """Everything not acknowledged, oldest first; what cannot be read is added to `damaged`."""
        for stored in self.survivors.stored:
            payloads = tuple(payload for place in stored.places if (payload := self._read(place)) is not None)
            if len(payloads) < len(stored.places):
                self.damaged.append(stored.key)
            if payloads:
                yield Pending(stored.key, payloads)

    def close(self) -> None:
        """Give the file back."""
        self._journal.close()

    def _read(self, place: Place) -> bytes | None:
        try:
            return self._journal.read(place)[1]
        except (ValueError, OSError):
            return None

    def _schemas(self, directory: Path) -> dict[bytes, bytes]:
        path = directory / SCHEMA_FILE
        return SchemaBook(self._fs, str(path), PAGE_BYTES).look() if path.exists() else {}
