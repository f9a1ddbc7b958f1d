"""A store's directory in, everything that is in it out; read only, also while an agent runs or after a crash."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.errors import StoreError
from agent.model import BatchKey
from agent.store import JOURNAL_FILE, PAGE_BYTES, SCHEMA_FILE
from agent.store.fs import ReadOnlyFileSystem
from agent.store.journal import look_into
from agent.store.pages import FileKind
from agent.store.schemas import SchemaBook
from agent.store.survivors import Survivors, survivors


class Part(NamedTuple):
    """A batch of the journal, or one fragment of a batch that was still open."""

    key: BatchKey
    fragment: int | None  # counted from 0; None: the whole batch
    samples: int
    payload: bytes


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
        self.damaged: list[BatchKey] = []  # batches that parts() could not read

    def parts(self) -> Iterator[Part]:
        """Everything not acknowledged, oldest first; what cannot be read is added to `damaged`."""
        for stored in self.survivors.stored:
            for number, place in enumerate(stored.places):
                try:
                    piece, payload = self._journal.read(place)
                except (ValueError, OSError):
                    self.damaged.append(stored.key)
                else:
                    yield Part(stored.key, number if stored.merged else None, piece.samples, payload)

    def close(self) -> None:
        """Give the file back."""
        self._journal.close()

    def _schemas(self, directory: Path) -> dict[bytes, bytes]:
        path = directory / SCHEMA_FILE
        return SchemaBook(self._fs, str(path), PAGE_BYTES).look() if path.exists() else {}
