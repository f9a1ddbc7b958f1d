"""Register and bit payloads to samples of every type and byte order, and back."""

import json
import math
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import BLOCK, POINT, TEXT_LAST, Sample, packed_point, records

from agent._native import codec
from agent._native.samples import Samples
from agent.model import Order, Quality, ValueType

FAMILY = json.loads((Path(__file__).parents[1] / "vectors" / "filters.json").read_text())["families"]["decode"]
TIME_NS = 123_456_789
GROUP = 7
REGISTERS = {
    ValueType.BOOL: 1,
    ValueType.U16: 1,
    ValueType.I16: 1,
    ValueType.U32: 2,
    ValueType.I32: 2,
    ValueType.U64: 4,
    ValueType.I64: 4,
    ValueType.F32: 2,
    ValueType.F64: 4,
    ValueType.BCD16: 1,
    ValueType.BCD32: 2,
}
SIGNED = {ValueType.I16, ValueType.I32, ValueType.I64}


def point(tag, at, value_type, order=Order.ABCD, *, length=None, **checks):
    registers = length if length is not None else REGISTERS.get(value_type, 1)
    return packed_point(tag, at, registers, value_type, order=order, **checks)


def block(points, quantity, function=3, first_point=0):
    return BLOCK.pack(1, 0, 1, 0, GROUP, 0, first_point, len(points), 8, 7, 1, function, 0, quantity, bytes(21), 0)


def decoded(points, data, function=3, quantity=None):
    samples = Samples()
    quantity = len(data) // 2 if quantity is None else quantity
    count = codec.decode(block(points, quantity, function), b"".join(points), data, TIME_NS, samples)
    assert count == len(samples)
    assert count <= codec.block_records(block(points, quantity, function), b"".join(points))
    return records(samples)


def text_of(samples):
    return b"".join(sample.value.to_bytes(8, sys.byteorder)[: sample.detail] for sample in samples)


def raw_value(value_type, sample):
    """What a reader of the sample shows: floats from their bits, signed numbers from two's complement."""
    if value_type == ValueType.F32:
        return struct.unpack("=f", struct.pack("=I", sample.value))[0]
    if value_type == ValueType.F64:
        return struct.unpack("=d", struct.pack("=Q", sample.value))[0]
    return sample.value - 2**64 if value_type in SIGNED and sample.value >> 63 else sample.value


# ---- vectors ----

NUMBERS = [case for case in FAMILY["cases"] if case["params"]["type"] in {kind.name.lower() for kind in REGISTERS}]
TEXTS = [case for case in FAMILY["cases"] if case["params"]["type"] == "string"]
FIELDS = [  # signed fields and scale factors are not among the contract's types
    case for case in FAMILY["cases"] if case["params"]["type"] in {"bit", "bits"} and not case["params"].get("signed")
]


def by_id(case):
    return case["id"]


def payload(case):
    return struct.pack(f">{len(case['input'])}H", *case["input"])


@pytest.mark.parametrize("case", NUMBERS, ids=by_id)
def test_published_number(case):
    value_type, order = ValueType[case["params"]["type"].upper()], Order[case["params"].get("order", "ABCD")]
    (sample,) = decoded([point(3, 0, value_type, order)], payload(case))
    if case["expect"] is None:
        assert (sample.quality, sample.value) == (Quality.OUT_OF_RANGE, 0)
        return
    expected = case["expect"]
    value = raw_value(value_type, sample)
    assert sample.quality == Quality.GOOD
    if value_type in {ValueType.F32, ValueType.F64}:
        expected = float(expected)
        assert math.copysign(1, value) == math.copysign(1, expected)
        assert value == expected or (math.isnan(value) and math.isnan(expected))
    else:
        assert value == int(expected)


@pytest.mark.parametrize("case", TEXTS, ids=by_id)
def test_published_text(case):
    order = Order[case["params"].get("order", "ABCD")]
    samples = decoded([point(3, 0, ValueType.TEXT, order, length=2 * case["params"]["words"])], payload(case))
    assert text_of(samples) == case["expect"].encode()


@pytest.mark.parametrize("case", FIELDS, ids=by_id)
def test_published_bit_field(case):
    params = case["params"]
    bits, shift = params.get("width", 1), params.get("lo", params.get("bit"))
    (sample,) = decoded([point(3, 0, ValueType.BITS, bits=bits, shift=shift)], payload(case))
    assert sample.value == int(case["expect"])


# ---- what a sample carries ----


def test_a_sample_carries_tag_group_time_type_and_nothing_else():
    (sample,) = decoded([point(42, 1, ValueType.U16)], bytes.fromhex("ffff1234ffff"))
    assert sample == Sample(TIME_NS, 0x1234, 42, GROUP, ValueType.U16, Quality.GOOD, 0, 0)


def test_points_of_several_types_keep_their_order_and_may_overlap():
    points = [
        point(9, 2, ValueType.U16),
        point(8, 0, ValueType.U32),
        point(7, 0, ValueType.I16),
        point(6, 1, ValueType.I16),
        point(5, 0, ValueType.TEXT, length=2),
        point(4, 0, ValueType.BITS, bits=4, shift=4),
        point(3, 2, ValueType.BCD16),
    ]
    samples = decoded(points, bytes.fromhex("4142fffe0012"))
    assert [sample.tag for sample in samples] == [9, 8, 7, 6, 5, 4, 3]
    assert [sample.value for sample in samples] == [0x12, 0x4142FFFE, 0x4142, 2**64 - 2, 0x4241, 4, 12]


def test_a_register_is_true_unless_it_is_zero():
    points = [point(i, i, ValueType.BOOL) for i in range(3)]
    assert [sample.value for sample in decoded(points, bytes.fromhex("000001000001"))] == [0, 1, 1]


@given(st.binary(min_size=1, max_size=250), st.integers(1, 2), st.data())
def test_coils_stand_lowest_bit_first(data, function, draw):
    quantity = draw.draw(st.integers(8 * len(data) - 7, 8 * len(data)))
    at = draw.draw(st.lists(st.integers(0, quantity - 1), min_size=1, max_size=20))
    samples = decoded([point(i, bit, ValueType.BOOL) for i, bit in enumerate(at)], data, function, quantity)
    assert [sample.value for sample in samples] == [int.from_bytes(data, "little") >> bit & 1 for bit in at]


@given(st.binary(min_size=8, max_size=8), st.sampled_from([1, 2, 4]), st.sampled_from(Order), st.data())
def test_a_bit_field_is_cut_from_the_number_of_its_registers(data, length, order, draw):
    bits = draw.draw(st.integers(1, 16 * length))
    shift = draw.draw(st.integers(0, 16 * length - bits))
    whole = {1: ValueType.U16, 2: ValueType.U32, 4: ValueType.U64}[length]
    field = point(0, 0, ValueType.BITS, order, length=length, bits=bits, shift=shift)
    number, part = decoded([point(1, 0, whole, order), field], data)
    assert part.value == number.value >> shift & (2**bits - 1)


@given(st.lists(st.sampled_from(sorted(REGISTERS)), min_size=1, max_size=30), st.sampled_from(Order), st.data())
def test_a_number_does_not_depend_on_its_neighbours(types, order, draw):
    data = draw.draw(st.binary(min_size=8, max_size=250).filter(lambda data: len(data) % 2 == 0))
    points = [
        point(i, draw.draw(st.integers(0, len(data) // 2 - REGISTERS[kind])), kind, order)
        for i, kind in enumerate(types)
    ]
    together = decoded(points, data)
    alone = [decoded([one], data)[0] for one in points]
    assert together == alone


# ---- texts ----


@pytest.mark.parametrize(
    ("registers", "order", "expected"),
    [
        ("506f6e20", Order.ABCD, "Pon"),
        ("6f506e20", Order.BADC, "Po n"),
        ("6f50206e", Order.BADC, "Pon"),
        ("506f6e20", Order.CDAB, "Pon"),
        ("6f50206e", Order.DCBA, "Pon"),
        ("50006e00", Order.ABCD, "P\0n"),
        ("20206e00", Order.ABCD, "  n"),
        ("00200020", Order.ABCD, ""),
        ("41424344", Order.ABCD, "ABCD"),
    ],
)
def test_text_loses_its_padding_only(registers, order, expected):
    samples = decoded([point(0, 0, ValueType.TEXT, order, length=4)], bytes.fromhex(registers))
    assert text_of(samples) == expected.encode()


@pytest.mark.parametrize(("length", "details"), [(1, [1]), (8, [8]), (9, [8, 1]), (16, [8, 8]), (250, [8] * 31 + [2])])
def test_text_comes_in_pieces_of_eight_bytes(length, details):
    text = bytes(33 + i % 90 for i in range(length))
    samples = decoded([point(5, 0, ValueType.TEXT, length=length)], codec.encode_text(Order.ABCD, text))
    assert text_of(samples) == text
    assert [sample.detail for sample in samples] == details
    assert [sample.part for sample in samples] == [*range(len(details) - 1), len(details) - 1 | TEXT_LAST]
    assert {(s.tag, s.group, s.time_ns, s.type) for s in samples} == {(5, GROUP, TIME_NS, ValueType.TEXT)}


def test_empty_text_is_one_last_piece():
    (sample,) = decoded([point(0, 0, ValueType.TEXT, length=4)], bytes(4))
    assert (sample.value, sample.detail, sample.part, sample.quality) == (0, 0, TEXT_LAST, Quality.GOOD)


@given(st.binary(min_size=1, max_size=250), st.sampled_from(Order))
def test_text_is_decoded_as_it_was_encoded(text, order):
    samples = decoded([point(0, 0, ValueType.TEXT, order, length=len(text))], codec.encode_text(order, text))
    assert text_of(samples) == text.rstrip(b"\x00 \xfe")


@given(st.lists(st.text("abcXYZ19", max_size=30), min_size=2, max_size=7), st.sampled_from(Order))
def test_texts_and_numbers_side_by_side_keep_their_bytes_and_their_order(texts, order):
    points, data = [], b""
    for number, text in enumerate(texts):  # an empty text stands for a number
        kind = ValueType.TEXT if text else ValueType.U16
        points.append(point(number, len(data) // 2, kind, order, length=len(text) or 1))
        data += codec.encode_text(order, text.encode()) if text else codec.encode_value(kind, order, number)
    samples = decoded(points, data)
    pieces = [max(1, -(-len(text) // 8)) for text in texts]
    assert codec.block_records(block(points, len(data) // 2), b"".join(points)) == len(samples) == sum(pieces)
    assert [sample.tag for sample in samples] == [tag for tag, n in enumerate(pieces) for _ in range(n)]
    for number, text in enumerate(texts):
        of_tag = [sample for sample in samples if sample.tag == number]
        assert text_of(of_tag).decode() == text if text else of_tag[0].value == number


# ---- BCD ----


@pytest.mark.parametrize("bad", ["000a", "00a0", "0a00", "a000", "ffff"])
def test_a_nibble_above_nine_is_out_of_range_and_spoils_no_neighbour(bad):
    points = [point(0, 0, ValueType.BCD16), point(1, 1, ValueType.BCD16)]
    spoiled, right = decoded(points, bytes.fromhex(bad + "1234"))
    assert (spoiled.quality, spoiled.value) == (Quality.OUT_OF_RANGE, 0)
    assert (right.quality, right.value) == (Quality.GOOD, 1234)


def test_bcd32_has_eight_digits():
    (sample,) = decoded([point(0, 0, ValueType.BCD32)], bytes.fromhex("98765432"))
    assert sample.value == 98765432


# ---- encoding is the inverse ----


def raws(value_type):
    bits = 16 * REGISTERS[value_type]
    top = {ValueType.BOOL: 1, ValueType.BCD16: 9999, ValueType.BCD32: 99999999}.get(value_type, 2**bits - 1)
    if value_type in SIGNED:
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(lambda value: value % 2**64)
    return st.integers(0, top)


@given(st.sampled_from(sorted(REGISTERS)), st.sampled_from(Order), st.data())
def test_a_value_is_decoded_as_it_was_encoded(value_type, order, draw):
    raw = draw.draw(raws(value_type))
    data = codec.encode_value(value_type, order, raw)
    assert len(data) == 2 * REGISTERS[value_type]
    (sample,) = decoded([point(0, 0, value_type, order)], data)
    assert (sample.value, sample.quality) == (raw, Quality.GOOD)


@pytest.mark.parametrize(
    ("value_type", "raw"),
    [
        (ValueType.BOOL, 2),
        (ValueType.U16, 65536),
        (ValueType.I16, 32768),
        (ValueType.I16, 2**64 - 32769),
        (ValueType.U32, 2**32),
        (ValueType.I32, 2**31),
        (ValueType.F32, 2**32),
        (ValueType.BCD16, 10000),
        (ValueType.BCD32, 100000000),
        (ValueType.BITS, 65536),
        (ValueType.TEXT, 0),
        (13, 0),
    ],
)
def test_a_value_the_type_cannot_hold_is_refused(value_type, raw):
    with pytest.raises(ValueError, match="cannot hold"):
        codec.encode_value(value_type, Order.ABCD, raw)


def test_an_order_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="order 4"):
        codec.encode_value(ValueType.U16, 4, 0)


def test_text_longer_than_a_pdu_is_refused():
    with pytest.raises(ValueError, match="254 bytes"):
        codec.encode_text(Order.ABCD, bytes(254))


# ---- failures ----


def test_a_failed_block_says_why_once_for_each_tag():
    points = [point(1, 0, ValueType.U16), point(2, 1, ValueType.TEXT, length=40)]
    samples = Samples()
    args = (block(points, 30), b"".join(points), Quality.EXCEPTION, 2, TIME_NS, samples)
    assert codec.decode_failed(*args) == 2
    first, second = records(samples)
    assert first == Sample(TIME_NS, 0, 1, GROUP, ValueType.U16, Quality.EXCEPTION, 2, 0)
    assert second == Sample(TIME_NS, 0, 2, GROUP, ValueType.TEXT, Quality.EXCEPTION, 2, TEXT_LAST)


# ---- plans that do not fit ----

MISFITS = {
    "register behind the block": ([point(0, 2, ValueType.U16)], 2, 3),
    "second register behind the block": ([point(0, 1, ValueType.U32)], 2, 3),
    "text behind the block": ([point(0, 0, ValueType.TEXT, length=5)], 2, 3),
    "coil behind the block": ([point(0, 8, ValueType.BOOL)], 8, 1),
    "number among coils": ([point(0, 0, ValueType.U16)], 16, 2),
    "unknown type": ([point(0, 0, 13)], 2, 3),
    "unknown order": ([point(0, 0, ValueType.U16, 4)], 2, 3),
    "function that reads nothing": ([point(0, 0, ValueType.U16)], 2, 6),
    "no bits": ([point(0, 0, ValueType.BITS)], 2, 3),
    "bits above the register": ([point(0, 0, ValueType.BITS, bits=4, shift=13)], 2, 3),
    "bits in three registers": ([point(0, 0, ValueType.BITS, length=3, bits=4)], 3, 3),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_block_whose_points_do_not_fit_is_never_decoded(what):
    points, quantity, function = MISFITS[what]
    data = bytes(2 * quantity)
    with pytest.raises(ValueError, match="do not fit"):
        codec.decode(block(points, quantity, function), b"".join(points), data, 0, Samples())


def test_points_beyond_the_array_are_refused():
    points = [point(0, 0, ValueType.U16)]
    with pytest.raises(ValueError, match="do not fit"):
        codec.block_records(block(points, 1, first_point=1), b"".join(points))
    others_follow_in_memory = memoryview(b"".join(points * 2))[: POINT.size]
    with pytest.raises(ValueError, match="do not fit"):
        codec.block_records(block(points * 2, 1), others_follow_in_memory)


def test_a_block_finds_its_points_behind_those_of_others():
    points = [point(1, 5, ValueType.U16), point(2, 0, ValueType.U16)]
    samples = Samples()
    codec.decode(block(points[1:], 1, first_point=1), b"".join(points), b"\x00\x07", 0, samples)
    assert [sample.tag for sample in records(samples)] == [2]


@pytest.mark.parametrize("size", [3, 5])
def test_a_payload_of_another_length_is_refused(size):
    points = [point(0, 0, ValueType.U16)]
    with pytest.raises(ValueError, match=f"{size} bytes"):
        codec.decode(block(points, 2), points[0], bytes(size), 0, Samples())


def test_torn_records_are_refused():
    points = [point(0, 0, ValueType.U16)]
    with pytest.raises(ValueError, match="80-byte block"):
        codec.block_records(block(points, 1)[:-1], points[0])
    with pytest.raises(ValueError, match="40-byte points"):
        codec.block_records(block(points, 1), points[0][:-1])
