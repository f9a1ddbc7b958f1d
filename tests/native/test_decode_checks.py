"""Values that are none: sentinels, powers of ten that are read beside their number, ranges; and texts of all kinds."""

import json
import math
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import BLOCK, Sample, packed_point, records

from agent._native import codec
from agent._native.samples import Samples
from agent.batch.record import number_value
from agent.model import Order, Quality, ValueType

SENTINEL, SENTINEL_NAN, SENTINEL_EMPTY, RANGE, SCALED = 1, 2, 4, 8, 16
WIDE = 4
CASES = json.loads((Path(__file__).parent / "data" / "decode_checks.json").read_text())
REGISTERS = {
    ValueType.U16: 1, ValueType.I16: 1, ValueType.U32: 2, ValueType.I32: 2, ValueType.U64: 4, ValueType.I64: 4,
    ValueType.F32: 2, ValueType.F64: 4, ValueType.BCD16: 1, ValueType.BCD32: 2, ValueType.BOOL: 1, ValueType.BITS: 1,
}  # fmt: skip
INTEGERS = [kind for kind in REGISTERS if kind <= ValueType.I64 and kind is not ValueType.BOOL]


def decoded(points, data):
    quantity = len(data) // 2
    block = BLOCK.pack(1, 0, 1, 0, 7, 0, 0, len(points), 8, 7, 1, 3, 0, quantity, bytes(21), 0)
    samples = Samples()
    codec.decode(block, b"".join(points), data, 99, samples)
    return records(samples)


def shown(sample):
    return number_value(ValueType(sample.type), sample.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_value_is_decoded_or_is_none(case):
    kind = ValueType[case["type"]]
    flags = {
        SENTINEL: "sentinel" in case,
        SENTINEL_NAN: "nan" in case,
        RANGE: "range" in case,
        SCALED: "power_at" in case,
    }
    least, most = case.get("range", (0, 0))
    point = packed_point(
        5, case.get("at", 0), REGISTERS[kind], kind, order=Order[case.get("order", "ABCD")], bits=case.get("bits", 0),
        shift=case.get("shift", 0), scale_at=case.get("power_at", 0), flags=sum(flag for flag in flags if flags[flag]),
        sentinel=int(case.get("sentinel", "0"), 16), least=least, most=most,
    )  # fmt: skip
    (sample,) = decoded([point], bytes.fromhex(case["registers"]))
    assert sample.type == (ValueType.F64 if "power_at" in case else kind)
    if case["value"] is None:
        assert (sample.quality, sample.value, sample.detail) == (Quality.OUT_OF_RANGE, 0, 0)
    else:
        assert sample.quality == Quality.GOOD
        assert shown(sample) == (float(case["value"]) if isinstance(case["value"], str) else case["value"])


@given(st.sampled_from(INTEGERS), st.sampled_from(Order), st.integers(-10, 10), st.data())
def test_a_scaled_value_is_the_float_nearest_to_the_decimal_that_was_meant(kind, order, power, draw):
    bits = 16 * REGISTERS[kind]
    exact = min(bits, 53)  # beyond, a float cannot hold the number itself
    is_signed = kind in (ValueType.I16, ValueType.I32, ValueType.I64)
    number = draw.draw(
        st.integers(-(2 ** (exact - 1)), 2 ** (exact - 1) - 1) if is_signed else st.integers(0, 2**exact - 1)
    )
    swapped = Order.BADC if order in (Order.BADC, Order.DCBA) else Order.ABCD
    data = codec.encode_value(kind, order, number % 2**64) + codec.encode_value(ValueType.I16, swapped, power % 2**64)
    point = packed_point(1, 0, REGISTERS[kind], kind, order=order, scale_at=REGISTERS[kind], flags=SCALED)
    (sample,) = decoded([point], data)
    assert (sample.type, sample.quality) == (ValueType.F64, Quality.GOOD)
    if power <= 0 or abs(number) * 10**power < 2**53:
        assert shown(sample) == float(Fraction(number) * Fraction(10) ** power)
    else:
        assert math.isclose(shown(sample), number * 10**power, rel_tol=2**-52)


@given(st.sampled_from([kind for kind in REGISTERS if kind is not ValueType.BOOL]), st.binary(min_size=8, max_size=8))
def test_checks_that_a_value_passes_change_nothing(kind, data):
    registers = REGISTERS[kind]
    bits = 16 if kind is ValueType.BITS else 0
    other = int.from_bytes(data[: 2 * registers]) ^ 1
    plain = packed_point(1, 0, registers, kind, bits=bits)
    checked = packed_point(
        1, 0, registers, kind, bits=bits, flags=SENTINEL | RANGE, sentinel=other, least=-math.inf, most=math.inf
    )
    (before,), (after,) = decoded([plain], data), decoded([checked], data)
    is_nan = kind in (ValueType.F32, ValueType.F64) and math.isnan(shown(before))
    assert after == (before._replace(quality=Quality.OUT_OF_RANGE, value=0) if is_nan else before)


@given(st.lists(st.tuples(st.sampled_from(INTEGERS), st.booleans(), st.booleans()), min_size=1, max_size=12), st.data())
def test_a_check_of_one_tag_is_no_concern_of_its_neighbours(kinds, draw):
    data = draw.draw(st.binary(min_size=50, max_size=50))
    points = [
        packed_point(
            tag, draw.draw(st.integers(0, 20)), REGISTERS[kind], kind, scale_at=draw.draw(st.integers(0, 24)),
            flags=SCALED * is_scaled | SENTINEL * has_sentinel, sentinel=int.from_bytes(data[:2]),
        )
        for tag, (kind, is_scaled, has_sentinel) in enumerate(kinds)
    ]  # fmt: skip
    assert decoded(points, data) == [decoded([point], data)[0] for point in points]


def test_a_failed_block_names_the_type_that_its_values_would_have():
    point = packed_point(1, 0, 1, ValueType.U16, scale_at=1, flags=SCALED)
    block = BLOCK.pack(1, 0, 1, 0, 7, 0, 0, 1, 8, 7, 1, 3, 0, 2, bytes(21), 0)
    samples = Samples()
    codec.decode_failed(block, point, Quality.COMM_FAIL, 0, 99, samples)
    assert records(samples) == [Sample(99, 0, 1, 7, ValueType.F64, Quality.COMM_FAIL, 0, 0)]


MISFITS = {
    "power of ten behind the block": packed_point(0, 0, 1, ValueType.U16, scale_at=2, flags=SCALED),
    "a scaled float": packed_point(0, 0, 2, ValueType.F32, flags=SCALED),
    "a scaled text": packed_point(0, 0, 2, ValueType.TEXT, flags=SCALED),
    "a scaled bit field": packed_point(0, 0, 1, ValueType.BITS, bits=3, flags=SCALED),
    "wide text behind the block": packed_point(0, 0, 3, ValueType.TEXT, order=WIDE),
    "a wide number": packed_point(0, 0, 1, ValueType.U16, order=WIDE),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_point_that_does_not_fit_is_never_decoded(what):
    with pytest.raises(ValueError, match="do not fit"):
        decoded([MISFITS[what]], bytes(4))


def test_a_coil_has_nothing_to_be_checked():
    block = BLOCK.pack(1, 0, 1, 0, 7, 0, 0, 1, 8, 7, 1, 1, 0, 8, bytes(21), 0)
    with pytest.raises(ValueError, match="do not fit"):
        codec.decode(block, packed_point(0, 0, 1, ValueType.BOOL, flags=SENTINEL), bytes(1), 0, Samples())


# ---- texts ----


def text_of(samples):
    return b"".join(struct.pack("=Q", sample.value)[: sample.detail] for sample in samples)


@pytest.mark.parametrize(
    ("order", "length", "registers", "expected"),
    [
        (WIDE, 3, "0041 0042 0043", b"ABC"),
        (WIDE | Order.BADC, 3, "4100 4200 4300", b"ABC"),
        (WIDE | Order.CDAB, 3, "0041 0042 0043", b"ABC"),
        (WIDE, 3, "0141 ff42 0043", b"ABC"),  # what else is in the registers is not text
        (WIDE, 9, "0031 0032 0033 0034 0035 0036 0037 0038 0039", b"123456789"),
        (WIDE, 4, "0041 0042 0000 0000", b"AB"),
        (0, 6, "4142 4300 0000", b"ABC"),
        (0, 6, "4142 4320 2020", b"ABC"),
        (0, 6, "4142 43fe fefe", b"ABC"),
        (0, 6, "4142 4300 20fe", b"ABC"),
        (0, 6, "fe41 4243 fefe", b"\xfeABC"),
    ],
)  # fmt: skip
def test_a_text_is_read_however_its_maker_lays_it_out(order, length, registers, expected):
    samples = decoded([packed_point(0, 0, length, ValueType.TEXT, order=order)], bytes.fromhex(registers))
    assert text_of(samples) == expected


@pytest.mark.parametrize(
    ("registers", "quality"), [("000000000000", Quality.OUT_OF_RANGE), ("000020000000", Quality.GOOD)]
)
def test_a_text_of_zeros_alone_is_none_where_that_is_the_rule(registers, quality):
    point = packed_point(0, 0, 6, ValueType.TEXT, flags=SENTINEL_EMPTY)
    (sample,) = decoded([point], bytes.fromhex(registers))
    assert (sample.quality, sample.value, sample.detail, sample.part) == (quality, 0, 0, 0x80000000)


@given(st.binary(min_size=1, max_size=120), st.sampled_from(Order), st.booleans())
def test_text_is_decoded_as_it_was_encoded_wide_or_not(text, order, is_wide):
    data = codec.encode_text(order | (WIDE if is_wide else 0), text)
    assert len(data) == 2 * (len(text) if is_wide else (len(text) + 1) // 2)
    samples = decoded([packed_point(0, 0, len(text), ValueType.TEXT, order=order | (WIDE if is_wide else 0))], data)
    assert text_of(samples) == text.rstrip(b"\x00 \xfe")
