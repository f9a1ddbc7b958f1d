"""Traces of lines, as the loop keeps them, in; frames with their times, and a pcapng file of them, out; pure.

A serial line is written with link type RTAC serial, whose payload Wireshark decodes as Modbus RTU
(`tshark -d rtacser.data,mbrtu`); a TCP line as the IPv4 packets that its bytes were in, with made-up addresses.
Nothing there decodes Modbus ASCII: a frame of it is written as the RTU frame that says the same, and its characters as
the packet's comment.
Formats: draft-ietf-opsawg-pcapng; LINKTYPE_RTAC_SERIAL and LINKTYPE_IPV4 of tcpdump.org/linktypes.html.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from agent._native.codec import FromAscii

RECORD = struct.Struct("=qII")  # time, length, direction: see _native/core/trace.h
WORD_BYTES = 8
SENT = 0
# What is heard without so long a pause is one frame: a UART's pieces come closer together, a late answer does not.
PAUSE_NS = 50_000_000
ASCII_PAUSE_NS = 1_000_000_000  # within which a device goes on with an answer of ASCII

SECTION_BLOCK, INTERFACE_BLOCK, PACKET_BLOCK = 0x0A0D0D0A, 1, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
OPTION_END, OPTION_COMMENT, OPTION_NAME, OPTION_RESOLUTION = 0, 1, 2, 9
NANOSECONDS = bytes([9])  # the resolution of times: 10 to the minus
LINKTYPE_RTAC_SERIAL, LINKTYPE_IPV4 = 250, 228
RTAC_SENT, RTAC_HEARD = 1, 2  # the event types DATA_TX_START and DATA_RX_START
IP_PROTOCOL_TCP, MODBUS_PORT, OUR_PORT = 6, 502, 49_152
OUR_ADDRESS, DEVICE_ADDRESS = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])  # RFC 5737: for documentation
TCP_PUSH_ACK, TCP_WINDOW, IP_TTL = 0x18, 65_535, 64


class Frame(NamedTuple):
    """Bytes that went over a line in one piece, as far as can be told."""

    time_ns: int  # boot time; of what is heard, when its last byte was there
    sent: bool
    data: bytes


class LineTrace(NamedTuple):
    """What one line heard and sent last."""

    name: str
    is_tcp: bool
    frames: tuple[Frame, ...]
    is_ascii: bool = False


class _Packet(NamedTuple):
    """What stands in the file for one frame."""

    time_ns: int
    data: bytes
    comment: str = ""


def frames_of(records: bytes, pause_ns: int = PAUSE_NS) -> tuple[Frame, ...]:
    """The frames in the packed records of one line: the pieces in which an answer came are put together."""
    frames: list[Frame] = []
    for piece in _pieces(records):
        last = frames[-1] if frames else None
        if last and not last.sent and not piece.sent and piece.time_ns - last.time_ns < pause_ns:
            frames[-1] = piece._replace(data=last.data + piece.data)
        else:
            frames.append(piece)
    return tuple(frames)


def pcapng(lines: Iterable[LineTrace], wall_offset_ns: int) -> bytes:
    """A capture file with an interface for each line; wall_offset_ns is added to boot time."""
    lines = tuple(lines)
    blocks = [_block(SECTION_BLOCK, struct.pack("=IHHq", BYTE_ORDER_MAGIC, 1, 0, -1))]
    blocks += [_interface(line) for line in lines]
    packets = ((packet.time_ns, number, packet) for number, line in enumerate(lines) for packet in _packets(line))
    blocks += [_packet(number, time_ns + wall_offset_ns, packet) for time_ns, number, packet in sorted(packets)]
    return b"".join(blocks)


def _pieces(records: bytes) -> Iterator[Frame]:
    at = 0
    while at < len(records):
        time_ns, length, way = RECORD.unpack_from(records, at)
        at += RECORD.size
        yield Frame(time_ns, way == SENT, records[at : at + length])
        at += -(-length // WORD_BYTES) * WORD_BYTES


# --- packets ---


def _packets(line: LineTrace) -> Iterator[_Packet]:
    sequence = {True: 0, False: 0}
    for frame in line.frames:
        if line.is_tcp:
            yield _Packet(frame.time_ns, _ipv4(frame, sequence[frame.sent], sequence[not frame.sent]))
            sequence[frame.sent] += len(frame.data)
        elif line.is_ascii:
            said = frame._replace(data=FromAscii().feed(frame.data))
            yield _Packet(frame.time_ns, _rtac(said), repr(frame.data)[2:-1])
        else:
            yield _Packet(frame.time_ns, _rtac(frame))


def _rtac(frame: Frame) -> bytes:
    """Relative time (s, us), event type, control lines (not known), footer, data."""
    us = frame.time_ns // 1000
    event = RTAC_SENT if frame.sent else RTAC_HEARD
    return struct.pack(">IIBBH", us // 1_000_000 & 0xFFFFFFFF, us % 1_000_000, event, 0, 0) + frame.data


def _ipv4(frame: Frame, sequence: int, acknowledged: int) -> bytes:
    ports = (OUR_PORT, MODBUS_PORT) if frame.sent else (MODBUS_PORT, OUR_PORT)
    addresses = OUR_ADDRESS + DEVICE_ADDRESS if frame.sent else DEVICE_ADDRESS + OUR_ADDRESS
    flags = 5 << 12 | TCP_PUSH_ACK  # a header of five words
    tcp = struct.pack(">HHIIHHHH", *ports, sequence, acknowledged, flags, TCP_WINDOW, 0, 0) + frame.data
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, IP_TTL, IP_PROTOCOL_TCP, 0) + addresses
    return header[:10] + struct.pack(">H", _checksum(header)) + header[12:] + tcp


def _checksum(header: bytes) -> int:
    """RFC 791: the complement of the ones' complement sum of its 16-bit words."""
    total: int = sum(struct.unpack(f">{len(header) // 2}H", header))
    return ~(total % 0xFFFF) & 0xFFFF


# --- blocks ---


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("=II", kind, size) + body + struct.pack("=I", size)


def _interface(line: LineTrace) -> bytes:
    link_type = LINKTYPE_IPV4 if line.is_tcp else LINKTYPE_RTAC_SERIAL
    options = (OPTION_NAME, line.name.encode()), (OPTION_RESOLUTION, NANOSECONDS), (OPTION_END, b"")
    head = struct.pack("=HHI", link_type, 0, 0)  # of any length
    return _block(INTERFACE_BLOCK, head + b"".join(_option(*option) for option in options))


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _packet(interface: int, time_ns: int, packet: _Packet) -> bytes:
    size = len(packet.data)
    head = struct.pack("=IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, size, size)
    comment = _option(OPTION_COMMENT, packet.comment.encode()) + _option(OPTION_END, b"") if packet.comment else b""
    return _block(PACKET_BLOCK, head + _padded(packet.data) + comment)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
