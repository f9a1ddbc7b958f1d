"""Fragments of one batch in, one message with all their samples, gaps and schemas out."""

from collections.abc import Sequence

from agent._native.columns import TooMany, read_head
from agent._native.samples import Samples
from agent.batch.decoder import Batch, decode
from agent.batch.message import Seal, message_head, open_body, open_envelope, pack_extras, unpack_extras
from agent.batch.record import RECORD
from agent.batch.schema import SchemaBook, Table, native_layout
from agent.errors import FormatError


def merge(parts: Sequence[bytes], schemas: SchemaBook) -> bytes:
    """Fragments of one batch, oldest first, as one message of its key with all their samples, gaps and schemas.

    Raises FormatError, UnknownSchemaError; ValueError when gateway, epoch or seq differ.
    """
    batches = [decode(part, schemas) for part in parts]
    keys = {(batch.gateway, batch.epoch, batch.seq) for batch in batches}
    if len(keys) != 1:
        raise ValueError(f"fragments of {len(keys)} batches cannot be one")
    return _merged(batches, schemas, in_band=_in_band(parts))


def _in_band(parts: Sequence[bytes]) -> list[bytes]:
    carried: dict[bytes, None] = {}
    for part in parts:
        _, extra, _ = read_head(open_body(part, open_envelope(part)))
        carried.update(dict.fromkeys(unpack_extras(extra)[1]))
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
    extra = pack_extras(list(gaps), in_band)
    seal = Seal(
        message_head(batches[0].gateway, batches[0].epoch),
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
