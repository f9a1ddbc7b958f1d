"""Samples in, MQTT payloads out (Encoder), and back (decode). docs/FORMAT.md draws every byte."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from agent._native.columns import TooMany, read_envelope, read_head, read_samples, split
from agent._native.samples import Samples
from agent.clock import WallClock
from agent.errors import FormatError
from agent.model import BatchKey, Gap, Group, Message, Quality, Tag, ValueType
from agent.schema import UNPACK_ERRORS, Column, SchemaBook, Table, describe, native_layout, schema_hash

VERSION = 1
CODEC_NONE, CODEC_ZLIB = 0, 1
HISTORICAL = 0x01  # flags: from the journal, not live
FORMATS = ("columns", "plain")
MAX_BODY_BYTES = 1 << 23  # inflated; the same bound as FT_MAX_BODY_BYTES, so that a small message is no bomb
RECORD = struct.Struct("=qQIIHBBI")  # ft_sample
TEXT_LAST = 0x80000000
QUALITIES = tuple(Quality)  # by number

# Compression, as benchmarks/batch_sizes.py measures it.
NOISE_WORTH = 64  # bytes of noise that pay for the 5 bytes of a stored block
STORED_MOST = 0xFFFF  # bytes of one stored block (RFC 1951)
SMALL_BODY = 1024  # below, the best level costs no more time than the fastest
LEVEL_SMALL, LEVEL = 6, 2
WINDOW_BITS, MEM_LEVEL = -12, 6  # 50 KiB of state: the default's 256 KiB cost more to map than to use
ZLIB_HEAD = b"\x48\x0d"  # RFC 1950: deflate, 4 KiB window

_pack = msgspec.msgpack.Encoder().encode


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
        self._head = _head(gateway, epoch)
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
        extra = _pack_extras(gaps, self._messages if with_schemas else [])
        flags = HISTORICAL if historical else 0
        messages: list[Message] = []
        pending = [(0, len(samples))]
        while pending:
            start, stop = pending.pop()
            seq = first_seq + len(messages)
            seal = _Seal(self._head, seq, flags, clock.source, clock.error_ms, self._plain)
            payload = self._payload(samples, start, stop, clock.offset_ns, seal, extra if not messages else NO_EXTRA)
            parts = self._split(samples, start, stop, payload)
            if parts:
                pending.extend(reversed(parts))
            else:
                messages.append(Message(BatchKey(self._epoch, seq), payload, stop - start, historical))
        return messages

    def _payload(self, samples: Samples, start: int, stop: int, offset_ns: int, seal: "_Seal", extra: bytes) -> bytes:
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


class Sample(NamedTuple):
    """One sample as a receiver wants it. `v` is None where `q` says there is no value."""

    gateway: str
    tag: str
    t_us: int  # Unix time in microseconds
    v: int | float | str | None
    q: str
    unit: str
    seq: int
    epoch: bytes
    type: ValueType
    raw: int | bytes  # the 64 raw bits, unscaled; text: its bytes
    detail: int  # with q == "exception": the Modbus exception code

    @property
    def t(self) -> float:
        """Unix time in seconds."""
        return self.t_us / 1e6


class Batch(NamedTuple):
    """One decoded message."""

    gateway: str
    epoch: bytes
    seq: int
    flags: int
    clock: WallClock  # offset_ns is 0: the times are wall-clock times already
    gaps: tuple[Gap, ...]
    columns: tuple[Column, ...]
    records: Samples  # time_ns is Unix time, tag an index into columns
    plain: bool
    schemas: tuple[bytes, ...]  # hashes of those it needs

    @property
    def historical(self) -> bool:
        """True: from the journal, not live."""
        return bool(self.flags & HISTORICAL)

    @property
    def samples(self) -> Iterator[Sample]:
        """Its samples, group by group, row by row."""
        return _samples(self)


class UnknownSchemaError(FormatError):
    """A batch that needs a schema nobody has seen yet; `missing` are the hashes."""

    def __init__(self, key: str, missing: Sequence[bytes]) -> None:
        super().__init__(f"{key}: schema {', '.join(item.hex() for item in missing)} is nowhere")
        self.missing = tuple(missing)


def decode(payload: bytes, schemas: SchemaBook) -> Batch:
    """One message, whole. Schemas it carries are added to the book. Raises FormatError, UnknownSchemaError."""
    envelope = _Envelope(*read_envelope(payload))
    if envelope.end != len(payload):
        raise FormatError(f"byte {envelope.end}: bytes follow the batch")
    body = _body(payload, envelope)
    hashes, extra, plain = read_head(body)
    gaps, messages = _extras(extra)
    for message in messages:
        schemas.add(message)
    gateway = envelope.gateway.decode("utf-8", "replace")
    missing = [key for key in hashes if key not in schemas]
    if missing:
        raise UnknownSchemaError(f"batch {envelope.seq} of {gateway} epoch {envelope.epoch.hex()}", missing)
    if len(set(hashes)) < len(hashes):
        raise FormatError("the body names a schema twice")
    view = schemas.view(hashes)
    records = Samples()
    read_samples(body, view.layout, records)
    clock = WallClock(0, envelope.source, envelope.error_ms)
    return Batch(
        gateway, envelope.epoch, envelope.seq, envelope.flags, clock, gaps, view.columns, records, plain, tuple(hashes)
    )


def mark_historical(payload: bytes) -> bytes:
    """The same message with the flag set; one byte changes. Raises FormatError."""
    envelope = _Envelope(*read_envelope(payload))
    marked = bytearray(payload)
    marked[envelope.flags_at] |= HISTORICAL
    return bytes(marked)


def merge(parts: Sequence[bytes], schemas: SchemaBook) -> bytes:
    """Fragments of one batch, oldest first, as one message of its key with all their samples, gaps and schemas.

    Raises FormatError, UnknownSchemaError; ValueError when gateway, epoch or seq differ.
    """
    batches = [decode(part, schemas) for part in parts]
    keys = {(batch.gateway, batch.epoch, batch.seq) for batch in batches}
    if len(keys) != 1:
        raise ValueError(f"fragments of {len(keys)} batches cannot be one")
    return _merged(batches, schemas, in_band=_in_band(parts))


class _Envelope(NamedTuple):
    """What _native.columns.read_envelope gives."""

    gateway: bytes
    epoch: bytes
    seq: int
    flags: int
    flags_at: int
    source: int
    error_ms: int
    codec: int
    body_at: int
    body_bytes: int
    end: int


class _GapFields(msgspec.Struct, array_like=True, frozen=True):
    """A gap on the wire."""

    epoch: bytes
    first_seq: int
    last_seq: int
    samples: int
    reason: str


class _Extras(msgspec.Struct, array_like=True, frozen=True):
    """The two elements of a body that are not columns."""

    gaps: tuple[_GapFields, ...] = ()
    schemas: tuple[bytes, ...] = ()


_extras_decoder = msgspec.msgpack.Decoder(_Extras)
NO_EXTRA = b""


def _head(gateway: str, epoch: bytes) -> bytes:
    if len(epoch) != 8:
        raise ValueError(f"an epoch has 8 bytes, not {len(epoch)}")
    return b"\x98" + _pack(VERSION) + _pack(gateway) + _pack(epoch)


class _Seal(NamedTuple):
    """Everything of a message that is not its body."""

    head: bytes  # array head, version, gateway, epoch
    seq: int
    flags: int
    source: int
    error_ms: int
    plain: bool

    def close(self, noise: bytes, rest: bytes, numeric: bool) -> bytes:
        """The message around a body."""
        pack = _pack
        middle = b"%b%b\x92%b%b" % (pack(self.seq), pack(self.flags), pack(self.source), pack(self.error_ms))
        if self.plain:
            return b"".join((self.head, middle, b"\x00", noise, rest))
        return b"".join((self.head, middle, b"\x01", pack(_deflate(noise, rest, numeric))))


def _deflate(noise: bytes, rest: bytes, numeric: bool) -> bytes:
    """A zlib stream of both. Noise goes into stored blocks: deflate would spend most of its time to make it longer."""
    if len(noise) < NOISE_WORTH:
        noise, rest = b"", noise + rest
    blocks = [ZLIB_HEAD]
    for at in range(0, len(noise), STORED_MOST):
        block = noise[at : at + STORED_MOST]
        blocks += (struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block)
    deflater = zlib.compressobj(*_settings(len(rest), numeric))
    blocks += (deflater.compress(rest), deflater.flush())
    blocks.append(zlib.adler32(rest, zlib.adler32(noise)).to_bytes(4, "big"))
    return b"".join(blocks)


def _settings(size: int, numeric: bool) -> tuple[int, int, int, int, int]:
    """Level to strategy. Among numbers a repeat that is no run is chance, and its match costs more than it saves."""
    if size < SMALL_BODY:
        return LEVEL_SMALL, zlib.DEFLATED, WINDOW_BITS, MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY
    strategy = zlib.Z_RLE if numeric else zlib.Z_DEFAULT_STRATEGY
    return LEVEL, zlib.DEFLATED, WINDOW_BITS, MEM_LEVEL, strategy


def _body(payload: bytes, envelope: _Envelope) -> bytes:
    body = bytes(memoryview(payload)[envelope.body_at : envelope.body_at + envelope.body_bytes])
    if envelope.codec == CODEC_NONE:
        return body
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise FormatError(f"byte {envelope.body_at}: the body does not inflate: {error}") from error
    if inflater.unconsumed_tail:
        raise FormatError(f"byte {envelope.body_at}: the body is larger than {MAX_BODY_BYTES} bytes")
    if not inflater.eof or inflater.unused_data:
        raise FormatError(f"byte {envelope.body_at}: the body is not one whole zlib stream")
    return inflated


def _pack_extras(gaps: Sequence[Gap], messages: Sequence[bytes]) -> bytes:
    return _pack(gaps) + _pack(messages) if gaps or messages else NO_EXTRA


def _extras(extra: bytes) -> tuple[tuple[Gap, ...], tuple[bytes, ...]]:
    try:
        extras = _extras_decoder.decode(extra)
    except UNPACK_ERRORS as error:
        raise FormatError(f"gaps or schemas: {error}") from error
    gaps = tuple(Gap(gap.epoch, gap.first_seq, gap.last_seq, gap.samples, gap.reason) for gap in extras.gaps)
    return gaps, extras.schemas


def _in_band(parts: Sequence[bytes]) -> list[bytes]:
    carried: dict[bytes, None] = {}
    for part in parts:
        _, extra, _ = read_head(_body(part, _Envelope(*read_envelope(part))))
        carried.update(dict.fromkeys(_extras(extra)[1]))
    return list(carried)


def _merged(batches: Sequence[Batch], schemas: SchemaBook, in_band: Sequence[bytes]) -> bytes:
    """All records in one layout: the tables of every schema that a fragment names, columns where its view has them."""
    hashes = list(dict.fromkeys(key for batch in batches for key in batch.schemas))
    tables = [schemas.tables(key) for key in hashes]
    together = [table for of_one in tables for table in of_one]
    starts = dict(zip(hashes, _starts(tables), strict=True))
    records = Samples()
    for batch in batches:
        records.extend(_renumbered(batch, schemas, starts))
    layout = native_layout(together, tags=_places(together), hashes=hashes, sizes=[len(of_one) for of_one in tables])
    gaps = dict.fromkeys(gap for batch in batches for gap in batch.gaps)
    extra = _pack_extras(list(gaps), in_band)
    seal = _Seal(
        _head(batches[0].gateway, batches[0].epoch),
        batches[0].seq,
        _any_flags(batches),
        min(batch.clock.source for batch in batches),
        max(batch.clock.error_ms for batch in batches),
        batches[0].plain,
    )
    try:
        return seal.close(*layout.encode(records, 0, len(records), 0, seal.plain, extra))
    except TooMany as error:
        raise FormatError(f"{len(records)} samples of fragments do not fit one batch") from error


def _any_flags(batches: Sequence[Batch]) -> int:
    flags = 0
    for batch in batches:
        flags |= batch.flags
    return flags


def _starts(tables: Sequence[Sequence[Table]]) -> list[int]:
    starts, at = [], 0
    for of_one in tables:
        starts.append(at)
        at += sum(len(table.columns) for table in of_one)
    return starts


def _places(tables: Sequence[Table]) -> list[tuple[int, int, int]]:
    row = [(number, column.type) for number, table in enumerate(tables) for column in table.columns]
    return [(number, place, kind) for place, (number, kind) in enumerate(row)]


def _renumbered(batch: Batch, schemas: SchemaBook, starts: dict[bytes, int]) -> bytes:
    """A batch's records with their columns' places in the merged layout as tags."""
    places = [
        starts[key] + place
        for key in batch.schemas
        for place in range(sum(len(table.columns) for table in schemas.tables(key)))
    ]
    fields = RECORD.iter_unpack(batch.records)
    return b"".join(RECORD.pack(t, value, places[tag], *rest) for t, value, tag, *rest in fields)


def _samples(batch: Batch) -> Iterator[Sample]:
    text = b""
    for time_ns, value, tag, _group, kind, quality, detail, part in RECORD.iter_unpack(batch.records):
        column, verdict = batch.columns[tag], QUALITIES[quality]
        if kind == ValueType.TEXT and verdict.has_value:
            text += struct.pack("=Q", value)[:detail]
            if part & TEXT_LAST:
                yield _sample(batch, column, time_ns, text, verdict, 0)
                text = b""
        else:
            yield _sample(batch, column, time_ns, value, verdict, detail)


def _sample(batch: Batch, column: Column, time_ns: int, raw: int | bytes, quality: Quality, detail: int) -> Sample:
    return Sample(
        batch.gateway,
        column.tag,
        time_ns // 1000,
        _value(column, raw) if quality.has_value else None,
        quality.label,
        column.unit,
        batch.seq,
        batch.epoch,
        column.type,
        raw,
        detail,
    )


def _value(column: Column, raw: int | bytes) -> int | float | str:
    """The value in the tag's unit: v = raw * scale + offset; integers that need neither stay integers."""
    if isinstance(raw, bytes):
        return text_value(raw)
    number = number_value(column.type, raw)
    if column.is_raw:
        return number
    return float(number) * column.scale + column.offset


def text_value(raw: bytes) -> str:
    """UTF-8 where it is, else every byte the character of that number (ISO 8859-1)."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def number_value(kind: ValueType, raw: int) -> int | float:
    """The number that the 64 raw bits of a sample stand for."""
    if kind == ValueType.F32:
        return float(struct.unpack("=f", struct.pack("=I", raw & 0xFFFFFFFF))[0])
    if kind == ValueType.F64:
        return float(struct.unpack("=d", struct.pack("=Q", raw))[0])
    if kind in (ValueType.I16, ValueType.I32, ValueType.I64) and raw >> 63:
        return raw - (1 << 64)
    return raw
