"""Traces of lines, as the loop keeps them, in; pieces with their times, and a pcapng file of their frames, out; pure.

A serial line is written with link type RTAC serial, whose payload Wireshark decodes as Modbus RTU
(`tshark -d rtacser.data,mbrtu`); a TCP line as the IPv4 packets that its bytes were in, with made-up addresses.
Every packet says in which direction it went (`frame.packet_flags_direction` in Wireshark); bytes that are no frame
carry the flag of a CRC error and a comment (`frame.packet_flags_crc_error`, `frame.comment`).
Formats: draft-ietf-opsawg-pcapng; LINKTYPE_RTAC_SERIAL and LINKTYPE_IPV4 of tcpdump.org/linktypes.html.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from agent._native.codec import FromAscii
from agent.acquire.packets import Frame, Packet, serial_packets, tcp_packets

RECORD = struct.Struct("=qII")  # time, length, direction: see _native/core/trace.h
WORD_BYTES = 8
SENT = 0

SECTION_BLOCK, INTERFACE_BLOCK, PACKET_BLOCK = 0x0A0D0D0A, 1, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
OPTION_END, OPTION_COMMENT, OPTION_NAME, OPTION_FLAGS, OPTION_RESOLUTION = 0, 1, 2, 2, 9
INBOUND, OUTBOUND, CRC_ERROR = 1, 2, 1 << 24  # in OPTION_FLAGS
NANOSECONDS = bytes([9])  # the resolution of times: 10 to the minus
LINKTYPE_RTAC_SERIAL, LINKTYPE_IPV4 = 250, 228
RTAC_SENT, RTAC_HEARD = 1, 2  # the event types DATA_TX_START and DATA_RX_START
IP_PROTOCOL_TCP, MODBUS_PORT = 6, 502
OUR_PORTS = range(49_152, 65_536)  # one for each stream
OUR_ADDRESS, DEVICE_ADDRESS = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])  # RFC 5737: for documentation
TCP_PUSH_ACK, TCP_WINDOW, IP_TTL = 0x18, 65_535, 64


class LineTrace(NamedTuple):
    """What one line heard and sent last."""

    name: str
    is_tcp: bool
    pieces: tuple[Frame, ...]


def pieces_of(records: bytes) -> tuple[Frame, ...]:
    """The packed records of one line."""
    pieces, at = [], 0
    while at < len(records):
        time_ns, length, way = RECORD.unpack_from(records, at)
        at += RECORD.size
        pieces.append(Frame(time_ns, way == SENT, records[at : at + length]))
        at += -(-length // WORD_BYTES) * WORD_BYTES
    return tuple(pieces)


def pieces_in_rtu(pieces: Iterable[Frame]) -> tuple[Frame, ...]:
    """What went over a line of ASCII, as on one of RTU: nothing in Wireshark decodes ASCII."""
    ways = {True: FromAscii(), False: FromAscii()}
    said = (piece._replace(data=ways[piece.sent].feed(piece.data)) for piece in pieces)
    return tuple(piece for piece in said if piece.data)


def pcapng(lines: Iterable[LineTrace], wall_offset_ns: int) -> bytes:
    """A capture file with an interface for each line; wall_offset_ns is added to boot time."""
    lines = tuple(lines)
    blocks = [_block(SECTION_BLOCK, struct.pack("=IHHq", BYTE_ORDER_MAGIC, 1, 0, -1))]
    blocks += [_interface(line) for line in lines]
    packets = [(number, packet, data) for number, line in enumerate(lines) for packet, data in _packets(line)]
    packets.sort(key=lambda each: each[1].frame.time_ns)
    blocks += [_packet(number, packet, data, wall_offset_ns) for number, packet, data in packets]
    return b"".join(blocks)


# --- packets ---


def _packets(line: LineTrace) -> Iterator[tuple[Packet, bytes]]:
    """Each with its bytes in the file."""
    if not line.is_tcp:
        yield from ((packet, _rtac(packet.frame)) for packet in serial_packets(line.pieces))
        return
    sequence = {True: 0, False: 0}
    for packet in tcp_packets(line.pieces):
        sent = packet.frame.sent
        yield packet, _ipv4(packet, sequence[sent], sequence[not sent])
        sequence[sent] += len(packet.frame.data)


def _rtac(frame: Frame) -> bytes:
    """Relative time (s, us), event type, control lines (not known), footer, data."""
    us = frame.time_ns // 1000
    event = RTAC_SENT if frame.sent else RTAC_HEARD
    return struct.pack(">IIBBH", us // 1_000_000 & 0xFFFFFFFF, us % 1_000_000, event, 0, 0) + frame.data


def _ipv4(packet: Packet, sequence: int, acknowledged: int) -> bytes:
    frame = packet.frame
    our_port = OUR_PORTS[packet.stream % len(OUR_PORTS)]
    ports = (our_port, MODBUS_PORT) if frame.sent else (MODBUS_PORT, our_port)
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


def _packet(interface: int, packet: Packet, data: bytes, wall_offset_ns: int) -> bytes:
    time_ns = packet.frame.time_ns + wall_offset_ns
    head = struct.pack("=IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), len(data))
    flags = (OUTBOUND if packet.frame.sent else INBOUND) | (CRC_ERROR if packet.note else 0)
    options = [(OPTION_FLAGS, struct.pack("=I", flags)), (OPTION_END, b"")]
    if packet.note:
        options.insert(0, (OPTION_COMMENT, packet.note.encode()))
    return _block(PACKET_BLOCK, head + _padded(data) + b"".join(_option(*option) for option in options))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
