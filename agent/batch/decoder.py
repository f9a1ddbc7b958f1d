"""Messages in, their samples out: each with its time, its value in the tag's unit and its quality."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agent._native.columns import read_head, read_samples
from agent._native.samples import Samples
from agent.batch.message import HISTORICAL, open_body, open_envelope, unpack_extras
from agent.batch.record import RECORD, TEXT_LAST, number_value, text_value
from agent.batch.schema import Column, SchemaBook
from agent.errors import FormatError
from agent.model import Gap, Quality, ValueType, WallClock

QUALITIES = tuple(Quality)  # by number


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
    envelope = open_envelope(payload)
    if envelope.end != len(payload):
        raise FormatError(f"byte {envelope.end}: bytes follow the batch")
    body = open_body(payload, envelope)
    hashes, extra, plain = read_head(body)
    gaps, messages = unpack_extras(extra)
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
