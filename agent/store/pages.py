"""Bytes of pages in, their headers and pieces as tuples out; and the words for what is on them. No I/O."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from agent._native.page import PAGE_OVERHEAD, pieces, scan

FIRST, LAST = 1, 2  # flags of a piece
HEAD = struct.Struct("=8sQQQqqIHBBi4x")  # ft_page
PIECE = struct.Struct("=QQIIIIIHBB")  # ft_piece


class FileKind(IntEnum):
    """Which file a page belongs to."""

    JOURNAL = 1
    SCHEMAS = 2


class Kind(IntEnum):
    """What a record is."""

    BATCH = 1
    FRAGMENT = 2  # of a batch that was still open
    STATE = 3
    SCHEMA = 4


class Status(IntEnum):
    """What became of a page."""

    GOOD = 0
    BLANK = -1
    FOREIGN = -2
    NEWER = -3
    RESIZED = -4
    DAMAGED = -5


class Head(NamedTuple):
    """The header of a page; fields as in _native/core/page.h."""

    epoch: bytes
    sequence: int
    tail: int
    samples_before: int
    boot_ns: int
    wall_ns: int
    used: int
    pieces: int
    kind: int
    shift: int
    status: int


class Piece(NamedTuple):
    """The header of a piece; fields as in _native/core/page.h."""

    sequence: int
    seq: int
    total: int
    offset: int
    samples: int
    fresh: int
    at: int
    length: int
    kind: int
    flags: int


class Place(NamedTuple):
    """Where a record begins; places compare in the order of writing."""

    sequence: int  # the page
    at: int  # where in it
    samples_before: int  # fresh samples of all records that begin before it


class Record(NamedTuple):
    """What is written."""

    kind: Kind
    seq: int
    samples: int
    fresh: int  # samples that no earlier record of the same seq has
    payload: bytes


class Commit(NamedTuple):
    """Records packed into pages, ready to be written."""

    pages: bytes
    places: list[Place]
    next_sequence: int
    next_samples: int


class Stamp(NamedTuple):
    """Who writes a commit, and when."""

    epoch: bytes
    boot_ns: int
    wall_ns: int


class Geometry(NamedTuple):
    """The size of a ring."""

    page_bytes: int
    pages: int

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return self.page_bytes * self.pages


def read_heads(pages: bytes, page_bytes: int) -> Iterator[Head]:
    """The headers of pages that stand back to back, with what became of each."""
    return (Head(*fields) for fields in HEAD.iter_unpack(scan(pages, page_bytes)))


def read_pieces(page: bytes) -> list[Piece]:
    """The pieces of a good page. ValueError: it is not one."""
    return [Piece(*fields) for fields in PIECE.iter_unpack(pieces(page))]


def pages_of(first: Piece, page_bytes: int) -> int:
    """How many pages the record with this first piece is on."""
    return 1 + -(-(first.total - first.length) // (page_bytes - PAGE_OVERHEAD))
