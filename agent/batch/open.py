"""Kept samples in; encoded messages out when the batch is due, fragments before that when the loss window says so."""

from collections.abc import Sequence

from agent._native.samples import Samples
from agent.batch.encoder import Encoder
from agent.model import NS_PER_S, WRITING_SHARE, Gap, Message, WallClock

# A batch is closed early at this size: 6.4 MB of memory, about 0.5 MB encoded.
SAMPLES_MAX = 200_000
# Schemas are repeated inside the data so that a receiver that joins late decodes without retained messages.
SCHEMA_REPEAT_NS = 600 * NS_PER_S


class OpenBatch:
    """The batch that is being filled. Samples that only memory holds are `unsaved`, those in a fragment `saved`."""

    def __init__(self, encoder: Encoder, batch_s: float, loss_window_s: float, now_ns: int) -> None:
        self.encoder = encoder
        self.batch_ns = int(batch_s * NS_PER_S)
        self.save_ns = int(loss_window_s * NS_PER_S * (1 - WRITING_SHARE))
        self.seq = 0
        self._saved = Samples()
        self._unsaved = Samples()
        self._opened_ns = now_ns
        self._drained_ns = now_ns
        self._schemas_due_ns = now_ns
        self.oldest_unsaved_ns = now_ns  # no unsaved sample is older

    def __len__(self) -> int:
        return len(self._saved) + len(self._unsaved)

    def add(self, samples: Samples, now_ns: int) -> None:
        """Take what a drain at `now_ns` gave; nothing in it is older than the drain before."""
        if not len(self):
            self._opened_ns = self._drained_ns
        if not len(self._unsaved):
            self.oldest_unsaved_ns = self._drained_ns
        self._unsaved.extend(samples)
        self._drained_ns = now_ns

    @property
    def oldest_ns(self) -> int:
        """No sample of the batch is older, saved or not."""
        return self._opened_ns

    def next_drain_ns(self) -> int:
        """When to drain next so that neither the batch nor the loss window is missed."""
        opened_ns = self._opened_ns if len(self) else self._drained_ns
        unsaved_ns = self.oldest_unsaved_ns if len(self._unsaved) else self._drained_ns
        return min(opened_ns + self.batch_ns, unsaved_ns + self.save_ns)

    def is_due(self, now_ns: int) -> bool:
        """True when the batch is to be closed."""
        return len(self) > 0 and (now_ns - self._opened_ns >= self.batch_ns or len(self) >= SAMPLES_MAX)

    def needs_saving(self, now_ns: int) -> bool:
        """True when the oldest sample that only memory holds reaches the loss window."""
        return len(self._unsaved) > 0 and now_ns - self.oldest_unsaved_ns >= self.save_ns

    def fragment(self, clock: WallClock) -> Message | None:
        """The unsaved samples, encoded under the key the batch will have.

        None when they need more than one message: the batch is to be closed instead.
        """
        messages = self.encoder.encode(self._unsaved, first_seq=self.seq, clock=clock, with_schemas=False)
        if len(messages) > 1:
            return None
        self._saved.extend(self._unsaved)
        self._unsaved.clear()
        return messages[0]

    def close(self, now_ns: int, clock: WallClock, gaps: Sequence[Gap]) -> list[Message]:
        """The whole batch as messages of consecutive seq; a new one is open afterwards."""
        with_schemas = now_ns >= self._schemas_due_ns
        self._saved.extend(self._unsaved)
        messages = self.encoder.encode(
            self._saved, first_seq=self.seq, clock=clock, with_schemas=with_schemas, gaps=gaps
        )
        if with_schemas:
            self._schemas_due_ns = now_ns + SCHEMA_REPEAT_NS
        self.seq += len(messages)
        self._saved.clear()
        self._unsaved.clear()
        return messages
