"""Frames found in what went over a line, however it was chunked and whatever stands between them."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from wire import with_crc

from agent.acquire.packets import DAMAGED, INCOMPLETE, PAUSE_NS, REQUEST, Frame, Packet, serial_packets, tcp_packets

MS = 1_000_000
JUNK = b"\xff\xff\xff"  # the beginning of no frame


def answer(registers: bytes) -> bytes:
    return with_crc(bytes([1, 3, len(registers)]) + registers)


def adu(registers: bytes, number: int = 7) -> bytes:
    return struct.pack(">HHHBBB", number, 0, 3 + len(registers), 1, 3, len(registers)) + registers


payloads = st.binary(min_size=2, max_size=60).map(lambda data: data[: len(data) // 2 * 2])
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def chunked(data: bytes, sizes: list[int], step_ns: int = MS) -> list[Frame]:
    pieces, at = [], 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(Frame(len(pieces) * step_ns, False, data[at : at + size]))
        at += size
    return pieces


def told(packets: list[Packet]) -> list[tuple[bytes, str]]:
    return [(packet.frame.data, packet.note) for packet in packets]


@given(st.lists(st.tuples(st.booleans(), payloads), max_size=8), cuts)
def test_frames_on_a_serial_line_are_found_between_noise_and_nothing_is_left_out(line, sizes):
    expected = [item for noisy, data in line for item in ([(JUNK, DAMAGED)] if noisy else []) + [(answer(data), "")]]
    data = b"".join(data for data, _ in expected)
    assert told(list(serial_packets(chunked(data, sizes)))) == expected


@given(st.lists(payloads, max_size=8), cuts)
def test_frames_on_a_tcp_link_are_found_however_they_come(frames, sizes):
    expected = [(adu(data), "") for data in frames]
    data = b"".join(data for data, _ in expected)
    assert told(list(tcp_packets(chunked(data, sizes)))) == expected


@given(st.binary(max_size=300), cuts)
def test_no_byte_of_a_line_is_lost_whatever_it_is(data, sizes):
    for packets in (serial_packets, tcp_packets):
        assert b"".join(packet.frame.data for packet in packets(chunked(data, sizes))) == data


def test_a_late_answer_is_a_frame_of_its_own_and_so_is_everything_sent():
    first = answer(b"\x00\x01")
    pieces = [
        Frame(0, True, b"ask"),
        Frame(5 * MS, False, first[:3]),
        Frame(6 * MS, False, first[3:]),
        Frame(6 * MS + PAUSE_NS, False, first[:3]),
        Frame(7 * MS + PAUSE_NS, True, b"ask"),
    ]
    assert list(serial_packets(pieces)) == [
        Packet(pieces[0]),
        Packet(Frame(6 * MS, False, first)),
        Packet(pieces[3], DAMAGED),
        Packet(pieces[4]),
    ]


def test_each_of_two_answers_in_a_row_has_the_time_of_its_last_byte():
    two = [answer(b"\x00\x01"), answer(b"\x00\x02")]
    pieces = [
        Frame(MS, False, two[0][:4]),
        Frame(2 * MS, False, two[0][4:] + two[1][:2]),
        Frame(3 * MS, False, two[1][2:]),
    ]
    assert [(packet.frame.time_ns, packet.frame.data) for packet in serial_packets(pieces)] == [
        (2 * MS, two[0]),
        (3 * MS, two[1]),
    ]


def test_the_echo_of_a_request_is_no_answer():
    request = with_crc(bytes.fromhex("010300640002"))
    (packet,) = serial_packets([Frame(0, False, request)])
    assert packet.note == REQUEST


def test_behind_bytes_that_are_no_frame_a_link_begins_a_stream_of_its_own():
    pieces = [Frame(0, False, adu(b"\x00\x01")), Frame(MS, False, JUNK * 4 + adu(b"\x00\x02"))]
    assert [(packet.note, packet.stream) for packet in tcp_packets(pieces)] == [("", 0), (INCOMPLETE, 1), ("", 2)]


def test_a_frame_that_stops_in_its_middle_does_not_swallow_the_next_one():
    whole = adu(b"\x00\x01")
    pieces = [Frame(0, False, whole[:9]), Frame(PAUSE_NS, False, whole)]
    assert told(list(tcp_packets(pieces))) == [(whole[:9], INCOMPLETE), (whole, "")]
