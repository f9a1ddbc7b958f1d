"""Stored batches in, messages as they were put out; what cannot be read is tried again, or counted as lost."""

import logging
from collections.abc import Callable, Mapping, Sequence

from agent.errors import FieldtapError
from agent.model import BatchKey, Gap, Message
from agent.store.account import Account
from agent.store.pages import Place
from agent.store.recovery import Stored
from agent.store.schemas import SchemaBook
from agent.store.writer import Writer

MAX_READ_FAILURES = 3  # attempts, RETRY_NS apart, before an unreadable batch is given up

Merge = Callable[[Sequence[bytes], Mapping[bytes, bytes]], bytes]  # fragments of one batch, schemas -> the batch
Mark = Callable[[bytes], bytes]  # a batch -> the same one, flagged historical

log = logging.getLogger(__name__)


class Reader:
    """Takes the backlog of an account from the journal of a writer."""

    def __init__(self, account: Account, writer: Writer, schemas: SchemaBook, merge: Merge, mark: Mark) -> None:
        self._account = account
        self._writer = writer
        self._schemas = schemas
        self._merge = merge
        self._mark = mark
        self._unreadable = False  # the next stored batch could not be read just now
        self._failures = 0  # of that batch

    def allow_another_attempt(self) -> None:
        """Time has passed."""
        self._unreadable = False

    def take(self) -> Message | None:
        """The oldest batch that only the journal holds."""
        queue = self._account.queue
        while (stored := queue.next_stored()) and not self._unreadable:
            try:
                message = self._read(stored)
            except OSError as error:
                self._cannot_read(stored, error)
            else:
                if message is not None:
                    queue.take_stored()
                    return message
                self._account.give_up(queue.skip_stored())
        return None

    def historical(self, message: Message) -> Message:
        """The same message as it is sent late. One that is not of our version goes as it is: its receiver may know."""
        try:
            return message._replace(payload=self._mark(message.payload), historical=True)
        except FieldtapError as error:
            log.warning("batch %d cannot be flagged historical: %s", message.key.seq, error)
            return message._replace(historical=True)

    def _read(self, stored: Stored) -> Message | None:
        """None: nothing of it is intact. Fragments are merged; those that are damaged are counted. OSError: not now."""
        parts = [part for place in stored.places if (part := self._read_part(place, stored.key))]
        samples = sum(samples for _, samples in parts)
        if not parts:
            return None
        if not stored.merged:
            return self.historical(Message(stored.key, parts[0][0], samples))
        try:
            payload = self._merge([payload for payload, _ in parts], self._schemas.all())
        except (FieldtapError, ValueError) as error:
            log.warning("the fragments of batch %d do not fit each other: %s", stored.key.seq, error)
            return None
        if samples < stored.samples:
            self._account.gaps.add(Gap(*stored.key, stored.key.seq, stored.samples - samples, "damaged"))
        return self.historical(Message(stored.key, payload, samples))

    def _read_part(self, place: Place, key: BatchKey) -> tuple[bytes, int] | None:
        journal = self._writer.journal
        if journal is None:
            raise OSError("the journal is closed")
        try:
            piece, payload = journal.read(place)
        except ValueError as error:
            log.warning("batch %d is damaged: %s", key.seq, error)
            self._account.damaged(place)
            return None
        return payload, piece.samples

    def _cannot_read(self, stored: Stored, error: OSError) -> None:
        """Try again after the next tick; a batch that alone stays unreadable must not hold up those behind it."""
        log.warning("cannot read batch %d: %s", stored.key.seq, error)
        self._unreadable = True
        self._failures += not self._writer.alarm
        if self._failures >= MAX_READ_FAILURES:
            self._failures = 0
            self._account.give_up(self._account.queue.skip_stored())
