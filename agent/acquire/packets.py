"""Pieces of bytes that went over a line in, the frames that they make up out, and what makes up none, told apart; pure.

A capture of a faulty line is full of truth that looks like a fault of the capture: every packet that is no whole frame
says so in its note.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from agent._native.codec import crc_fits, request_length, response_length

# What is heard without so long a pause belongs together: a UART's pieces come closer, a late answer does not.
PAUSE_NS = 50_000_000
DAMAGED = "in no frame with a right CRC"
REQUEST = "a request, heard: the line's echo, or another master"
INCOMPLETE = "the rest of this frame never came, or its beginning is no longer kept"
UNIT_BYTES, CRC_BYTES = 1, 2
LENGTH_AT, BEHIND_LENGTH, SHORTEST_ADU = 4, 6, 8  # of an MBAP header; with one byte of PDU
LENGTHS = range(2, 261)  # unit and PDU, and the 6 bytes that some devices count twice


class Frame(NamedTuple):
    """Bytes that went over a line in one piece, as far as can be told."""

    time_ns: int  # boot time; of what is heard, when its last byte was there
    sent: bool
    data: bytes


class Packet(NamedTuple):
    """A frame, or bytes that are none."""

    frame: Frame
    note: str = ""  # why it is none
    stream: int = 0  # on TCP: another one behind bytes that are no frame, for nobody can tell what belongs together


def joined(pieces: Iterable[Frame]) -> Iterator[list[Frame]]:
    """The pieces of an answer together; everything that was sent alone."""
    run: list[Frame] = []
    for piece in pieces:
        if run and (run[-1].sent or piece.sent or piece.time_ns - run[-1].time_ns >= PAUSE_NS):
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


# --- serial lines ---


def serial_packets(pieces: Iterable[Frame]) -> Iterator[Packet]:
    """RTU: frames are found by their length and CRC, wherever they begin."""
    for run in joined(pieces):
        if run[0].sent:
            yield Packet(run[0])
        else:
            yield from _heard(run)


def _heard(run: list[Frame]) -> Iterator[Packet]:
    data = b"".join(piece.data for piece in run)
    ends = [0]
    for piece in run:
        ends.append(ends[-1] + len(piece.data))
    for start, end, note in _cut(data):
        piece = run[bisect_left(ends, end) - 1]  # the one with its last byte
        yield Packet(Frame(piece.time_ns, False, data[start:end]), note)


def _cut(data: bytes) -> Iterator[tuple[int, int, str]]:
    begun = at = 0  # data[begun:at] is in no frame
    while at < len(data):
        length, note = _frame_at(data, at)
        if length == 0:
            at += 1
            continue
        if begun < at:
            yield begun, at, DAMAGED
        yield at, at + length, note
        begun = at = at + length
    if begun < at:
        yield begun, at, DAMAGED


def _frame_at(data: bytes, at: int) -> tuple[int, str]:
    """Length of the frame that begins there; 0: none does."""
    pdu = data[at + UNIT_BYTES :]
    for length_of, note in ((response_length, ""), (request_length, REQUEST)):
        length = length_of(pdu) if pdu else 0
        adu = data[at : at + UNIT_BYTES + length + CRC_BYTES]
        if 0 < length <= len(pdu) - CRC_BYTES and crc_fits(adu):
            return len(adu), note
    return 0, ""


# --- TCP ---


def tcp_packets(pieces: Iterable[Frame]) -> Iterator[Packet]:
    """Modbus TCP: frames are found by the lengths in their headers, one behind the other in each direction."""
    stream = 0
    held = {True: Frame(0, True, b""), False: Frame(0, False, b"")}
    for piece in pieces:
        before = held[piece.sent]
        if before.data and piece.time_ns - before.time_ns >= PAUSE_NS:
            yield Packet(before, INCOMPLETE, stream + 1)
            stream += 2
            before = before._replace(data=b"")
        rest = before.data + piece.data
        while (cut := _adu(rest)) is not None:
            length, note = cut
            stream += 1 if note else 0
            yield Packet(Frame(piece.time_ns, piece.sent, rest[:length]), note, stream)
            stream += 1 if note else 0
            rest = rest[length:]
        held[piece.sent] = piece._replace(data=rest)
    for number, left in enumerate((frame for frame in held.values() if frame.data), stream + 1):
        yield Packet(left, INCOMPLETE, number)


def _adu(data: bytes) -> tuple[int, str] | None:
    """Length of what stands first, and why it is no frame; None: that takes more bytes."""
    if len(data) < SHORTEST_ADU:
        return None
    if _is_header(data, 0):
        length = BEHIND_LENGTH + int.from_bytes(data[LENGTH_AT:BEHIND_LENGTH])
        return (length, "") if length <= len(data) else None
    starts = (at for at in range(1, len(data) - SHORTEST_ADU + 1) if _is_header(data, at))
    return next(starts, len(data)), INCOMPLETE


def _is_header(data: bytes, at: int) -> bool:
    """Protocol 0, and a length that a frame may have."""
    length = int.from_bytes(data[at + LENGTH_AT : at + BEHIND_LENGTH])
    return data[at + 2 : at + LENGTH_AT] == bytes(2) and length in LENGTHS
