"""Samples in, messages out: as few as a size limit allows, no sample lost."""

from collections.abc import Sequence

from agent._native.columns import TooMany, split
from agent._native.samples import Samples
from agent.batch.message import HISTORICAL, NO_EXTRAS, Seal, message_head, pack_extras
from agent.batch.schema import describe, schema_hash
from agent.model import BatchKey, Gap, Group, Message, Tag, WallClock

FORMATS = ("columns", "plain")


class Encoder:
    """Encodes the batches of one gateway and one start of the agent. Not for two threads at once."""

    def __init__(
        self,
        gateway: str,
        epoch: bytes,
        tags: Sequence[Tag],
        groups: Sequence[Group],
        format: str,  # noqa: A002 - the word of the configuration
        max_message_bytes: int,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format {format!r} is none of {', '.join(FORMATS)}")
        self._epoch = epoch
        self._plain = format == "plain"
        self._max_bytes = max_message_bytes
        self._head = message_head(gateway, epoch)
        self._messages, self._layout = describe(tags, groups)

    def schemas(self) -> dict[bytes, bytes]:
        """Hash -> schema message, for the retained topic .../schema/<hash>."""
        return {schema_hash(message): message for message in self._messages}

    def encode(
        self,
        samples: Samples,
        *,
        first_seq: int,
        clock: WallClock,
        with_schemas: bool,
        gaps: Sequence[Gap] = (),
        historical: bool = False,
    ) -> list[Message]:
        """All samples as messages, seq counting up from `first_seq`: one, or several where max_message_bytes asks.

        Within a group rows keep their order; the first message carries gaps and schemas. A row that does not fit
        alone is sent alone all the same. Nothing to tell gives no message.
        """
        if not len(samples) and not gaps and not with_schemas:
            return []
        extra = pack_extras(gaps, self._messages if with_schemas else [])
        flags = HISTORICAL if historical else 0
        messages: list[Message] = []
        pending = [(0, len(samples))]
        while pending:
            start, stop = pending.pop()
            seq = first_seq + len(messages)
            seal = Seal(self._head, seq, flags, clock.source, clock.error_ms, self._plain)
            payload = self._payload(samples, start, stop, clock.offset_ns, seal, extra if not messages else NO_EXTRAS)
            parts = self._split(samples, start, stop, payload)
            if parts:
                pending.extend(reversed(parts))
            else:
                messages.append(Message(BatchKey(self._epoch, seq), payload, samples.values(start, stop), historical))
        return messages

    def _payload(self, samples: Samples, start: int, stop: int, offset_ns: int, seal: Seal, extra: bytes) -> bytes:
        """The message of samples[start:stop]; nothing when a body cannot hold them."""
        try:
            return seal.close(*self._layout.encode(samples, start, stop, offset_ns, self._plain, extra))
        except TooMany:
            return b""

    def _split(self, samples: Samples, start: int, stop: int, payload: bytes) -> list[tuple[int, int]]:
        """Equal parts that should fit; none when the payload does, or when it is a single row."""
        if payload and len(payload) <= self._max_bytes:
            return []
        count = max(2, -(-len(payload) // self._max_bytes))
        near = start + max(1, (stop - start) // count)
        cut = split(samples, start, stop, min(near, stop))
        if cut > start:
            return [(start, cut), (cut, stop)]
        if not payload:
            raise ValueError(f"{stop - start} samples of one row do not fit a batch")
        return []
