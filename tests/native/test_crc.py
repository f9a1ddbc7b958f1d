"""CRC-16/MODBUS against its definition, bit by bit, and against frames seen on real lines."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from wire import crc, with_crc

from agent._native.codec import crc16, crc_fits

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "serial_frames.json").read_text())["vectors"]


def test_nothing_has_the_start_value():
    assert crc16(b"") == 0xFFFF


def test_check_value_of_the_catalogue():
    assert crc16(b"123456789") == 0x4B37


@given(st.binary(max_size=600))
def test_equals_the_definition_at_any_length(data):
    assert crc16(data) == int.from_bytes(crc(data), "little")


@given(st.binary(max_size=40), st.integers(0, 7))
def test_alignment_of_the_bytes_does_not_matter(data, shift):
    assert crc16(memoryview(bytes(shift) + data)[shift:]) == int.from_bytes(crc(data), "little")


def test_every_frame_of_the_vectors_has_the_crc_it_is_said_to_have():
    frames = [v for v in VECTORS if v["protocol"] == "rtu" and "crc_ok_whole" in v and len(v["hex"]) > 4]
    assert len(frames) > 100
    for vector in frames:
        data = bytes.fromhex(vector["hex"])
        fits = crc16(data[:-2]) == int.from_bytes(data[-2:], "little")
        assert fits == vector["crc_ok_whole"], vector["id"]


@given(st.binary(min_size=1, max_size=20))
def test_a_crc_fits_the_bytes_before_it_and_no_others(data):
    frame = with_crc(data)
    assert crc_fits(frame)
    assert not crc_fits(frame[:-1] + bytes([frame[-1] ^ 1]))
    assert not crc_fits(bytes([frame[0] ^ 0x80]) + frame[1:])


def test_a_crc_of_nothing_does_not_count():
    assert not crc_fits(b"\xff\xff")
    assert not crc_fits(b"\xff")
    assert not crc_fits(b"")
