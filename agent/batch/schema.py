"""Tags and groups in, schema messages and their hashes out; schema messages in, what a batch's columns mean out."""

import hashlib
import struct
from collections.abc import Iterable, KeysView, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from typing import NamedTuple

import msgspec

from agent._native.columns import Layout
from agent.errors import FormatError
from agent.model import Group, Tag, ValueType

VERSION = 1
HASH_BYTES = 8
SCHEMA_BYTES = 16_384  # a schema takes further groups up to here: few hashes in a batch, and small enough to resend
VIEWS = 64  # combinations of schemas kept ready to read with; a gateway has one or two
COLUMN = struct.Struct("=III")  # ft_column: table, place in the row of all columns, type
TABLE = struct.Struct("=IIIII")  # ft_table: first, columns, twin, schema, number

# What msgspec raises on bytes from anywhere; the last two are not its own.
UNPACK_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_pack = msgspec.msgpack.Encoder().encode


class Column(msgspec.Struct, array_like=True, frozen=True):
    """One tag as a schema describes it: value = raw * scale + offset, in `unit`."""

    tag: str
    type: ValueType
    scale: float
    offset: float
    unit: str

    @property
    def is_raw(self) -> bool:
        """True: the raw value is the value, integers stay exact."""
        return self.scale == 1.0 and self.offset == 0.0


class Table(msgspec.Struct, array_like=True, frozen=True):
    """A group of tags that are read together."""

    name: str
    columns: tuple[Column, ...]


class Schema(msgspec.Struct, array_like=True, frozen=True):
    """A schema message: some of a gateway's groups."""

    version: int
    tables: tuple[Table, ...]


_schema_decoder = msgspec.msgpack.Decoder(Schema)


def schema_hash(message: bytes) -> bytes:
    """What batches call a schema: the first 8 bytes of the SHA-256 of its message."""
    return hashlib.sha256(message).digest()[:HASH_BYTES]


def read_schema(message: bytes) -> Schema:
    """A schema message, checked. Raises FormatError."""
    try:
        schema = _schema_decoder.decode(message)
    except UNPACK_ERRORS as error:
        raise FormatError(f"not a schema message: {error}") from error
    if schema.version != VERSION:
        raise FormatError(f"a schema of version {schema.version}, which this reader does not know")
    return schema


def is_schema(message: bytes) -> bool:
    """A schema message rather than a batch: after the version comes an array, not the gateway's name."""
    after = 2 if message[:1] < b"\xa0" else 4
    return 0x90 <= int.from_bytes(message[after : after + 1]) <= 0x9F or message[after : after + 1] in (
        b"\xdc",
        b"\xdd",
    )


class SchemaBook:
    """All schemas that have been seen, by their hash."""

    def __init__(self, messages: Iterable[bytes] = ()) -> None:
        self._schemas: dict[bytes, Schema] = {}
        self._views: dict[tuple[bytes, ...], View] = {}
        for message in messages:
            self.add(message)

    @classmethod
    def of_readable(cls, messages: Iterable[bytes]) -> "SchemaBook":
        """Those of them that this version reads: a store may hold some that a newer one left."""
        book = cls()
        for message in messages:
            with suppress(FormatError):
                book.add(message)
        return book

    def __contains__(self, key: bytes) -> bool:
        return key in self._schemas

    def add(self, message: bytes) -> bytes:
        """Learn a schema message; returns its hash. Raises FormatError."""
        key = schema_hash(message)
        if key not in self._schemas:
            self._schemas[key] = read_schema(message)
        return key

    def keys(self) -> KeysView[bytes]:
        """The hashes of all known schemas."""
        return self._schemas.keys()

    def tables(self, key: bytes) -> tuple[Table, ...]:
        """The groups of a known schema."""
        return self._schemas[key].tables

    def view(self, keys: Sequence[bytes]) -> "View":
        """What a batch that names these schemas, in this order, is read with. Raises KeyError on an unknown one."""
        wanted = tuple(keys)
        if wanted not in self._views:
            if len(self._views) >= VIEWS:
                self._views.clear()
            tables = [table for key in wanted for table in self._schemas[key].tables]
            self._views[wanted] = View(
                tuple(column for table in tables for column in table.columns), native_layout(tables)
            )
        return self._views[wanted]


class View(NamedTuple):
    """All columns of some schemas in a row, and the same for the native reader."""

    columns: tuple[Column, ...]
    layout: Layout


def describe(tags: Sequence[Tag], groups: Sequence[Group]) -> tuple[list[bytes], Layout]:
    """Schema messages and the layout of a gateway whose tags are numbered 0, 1, 2 ...

    Every tag gets one column: in the first group that lists it, or in a table of its own.
    """
    by_number = {tag.number: tag for tag in tags}
    homes = _homes(tags, groups)
    tables = [Table(name, tuple(_column(by_number[number]) for number in numbers)) for name, numbers in homes]
    chunks = _chunk(tables)
    messages = [_pack(Schema(VERSION, tuple(chunk))) for chunk in chunks]
    row = [(number, table) for table, (_, numbers) in enumerate(homes) for number in numbers]
    places = {number: (table, place) for place, (number, table) in enumerate(row)}
    return messages, native_layout(
        tables,
        tags=[(*places[number], by_number[number].type) for number in range(len(tags))],
        hashes=[schema_hash(message) for message in messages],
        sizes=[len(chunk) for chunk in chunks],
    )


def native_layout(
    tables: Sequence[Table],
    *,
    tags: Sequence[tuple[int, int, int]] = (),
    hashes: Sequence[bytes] = (bytes(HASH_BYTES),),
    sizes: Sequence[int] | None = None,
) -> Layout:
    """Tables packed as _native/core/columns.h draws them.

    Writing needs `tags` as (table, place, type) and of each schema its hash and number of tables; reading does not.
    """
    sizes = [len(tables)] if sizes is None else sizes
    numbers = [(schema, number) for schema, size in enumerate(sizes) for number in range(size)]
    types = [tuple(column.type for column in table.columns) for table in tables]
    firsts = list(accumulate((len(row) for row in types), initial=0))
    twins: dict[tuple[ValueType, ...], int] = {}
    rows = [
        TABLE.pack(first, len(row), twins.setdefault(row, first), *number)
        for first, row, number in zip(firsts, types, numbers, strict=False)
    ]
    return Layout(
        b"".join(COLUMN.pack(*tag) for tag in tags),
        bytes(chain.from_iterable(types)),
        b"".join(rows),
        b"".join(hashes),
        struct.pack(f"={len(sizes)}I", *sizes),
    )


def _homes(tags: Sequence[Tag], groups: Sequence[Group]) -> list[tuple[str, list[int]]]:
    housed: set[int] = set()
    homes = []
    for group in groups:
        numbers = [number for number in dict.fromkeys(group.tags) if number not in housed]
        housed.update(numbers)
        if numbers:
            homes.append((group.name, numbers))
    return homes + [("", [tag.number]) for tag in tags if tag.number not in housed]


def _column(tag: Tag) -> Column:
    return Column(tag.name, tag.type, float(tag.scale), float(tag.offset), tag.unit)


def _chunk(tables: Sequence[Table]) -> list[list[Table]]:
    chunks: list[list[Table]] = []
    room = 0
    for table in tables:
        size = len(_pack(table))
        if not chunks or size > room:
            chunks.append([])
            room = SCHEMA_BYTES
        chunks[-1].append(table)
        room -= size
    return chunks
