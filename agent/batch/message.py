"""Bodies in, messages around them out; messages in, envelope and body out. docs/FORMAT.md draws every byte."""

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from agent._native.columns import read_envelope
from agent.batch.schema import UNPACK_ERRORS
from agent.errors import FormatError
from agent.model import Gap

VERSION = 1
CODEC_NONE = 0
HISTORICAL = 0x01  # flags: from the journal, not live
MAX_BODY_BYTES = 1 << 23  # inflated; the same bound as FT_MAX_BODY_BYTES, so that a small message is no bomb
EPOCH_BYTES = 8
NO_EXTRAS = b""

# Compression, as benchmarks/batch_sizes.py measures it.
NOISE_WORTH = 64  # bytes of noise that pay for the 5 bytes of a stored block
STORED_MOST = 0xFFFF  # bytes of one stored block (RFC 1951)
SMALL_BODY = 1024  # below, the best level costs no more time than the fastest
LEVEL_SMALL, LEVEL = 6, 2
WINDOW_BITS, MEM_LEVEL = -12, 6  # 50 KiB of state: the default's 256 KiB cost more to map than to use
ZLIB_HEAD = b"\x48\x0d"  # RFC 1950: deflate, 4 KiB window

_pack = msgspec.msgpack.Encoder().encode


class Envelope(NamedTuple):
    """What stands around a body, and where."""

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


class Seal(NamedTuple):
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


def message_head(gateway: str, epoch: bytes) -> bytes:
    """The elements that are the same in every message of one gateway and one start of the agent."""
    if len(epoch) != EPOCH_BYTES:
        raise ValueError(f"an epoch has {EPOCH_BYTES} bytes, not {len(epoch)}")
    return b"\x98" + _pack(VERSION) + _pack(gateway) + _pack(epoch)


def open_envelope(payload: bytes) -> Envelope:
    """The envelope of the message that `payload` begins with. Raises FormatError."""
    return Envelope(*read_envelope(payload))


def open_body(payload: bytes, envelope: Envelope) -> bytes:
    """The body of a message, inflated. Raises FormatError."""
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


def mark_historical(payload: bytes) -> bytes:
    """The same message with the flag set; one byte changes. Raises FormatError."""
    envelope = open_envelope(payload)
    marked = bytearray(payload)
    marked[envelope.flags_at] |= HISTORICAL
    return bytes(marked)


def pack_extras(gaps: Sequence[Gap], schemas: Sequence[bytes]) -> bytes:
    """Gaps and schema messages as they follow the columns."""
    return _pack(gaps) + _pack(schemas) if gaps or schemas else NO_EXTRAS


def unpack_extras(extra: bytes) -> tuple[tuple[Gap, ...], tuple[bytes, ...]]:
    """Back again. Raises FormatError."""
    try:
        extras = _extras_decoder.decode(extra)
    except UNPACK_ERRORS as error:
        raise FormatError(f"gaps or schemas: {error}") from error
    gaps = tuple(Gap(gap.epoch, gap.first_seq, gap.last_seq, gap.samples, gap.reason) for gap in extras.gaps)
    return gaps, extras.schemas


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
