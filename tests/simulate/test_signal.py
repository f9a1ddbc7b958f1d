"""The values the simulator serves: the same from C as from the formula, and told apart from all others."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent._native.server import SimulatedBus
from agent.config.model import Device, Table, Tag
from agent.model import Order, ValueType
from agent.simulate.layout import arrange, unit_bits
from agent.simulate.signal import TICK_NS, expected, is_right, raw_at

REGISTERS = {ValueType.U32: 2, ValueType.I32: 2, ValueType.F32: 2, ValueType.BCD32: 2,
             ValueType.U64: 4, ValueType.I64: 4, ValueType.F64: 4}  # fmt: skip
SIGNED = (ValueType.I16, ValueType.I32, ValueType.I64)
GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "simulator_values.json").read_text())
WALL_NS = 1_763_769_600_000_000_000
S = 1_000_000_000


@st.composite
def tags(draw: st.DrawFn) -> Tag:
    table = draw(st.sampled_from(Table))
    kind = ValueType.BOOL if table in (Table.COIL, Table.DISCRETE) else draw(st.sampled_from(ValueType))
    length = draw(st.integers(1, 40)) if kind is ValueType.TEXT else REGISTERS.get(kind, 1)
    shift = draw(st.integers(0, 15)) if kind is ValueType.BITS else 0
    return Tag(
        name="t", table=table, address=draw(st.integers(0, 65535 - 20)), type=kind, length=length, shift=shift,
        bits=draw(st.integers(1, 16 - shift)) if kind is ValueType.BITS else 0,
        order=draw(st.sampled_from(Order)), every_ns=S,
    )  # fmt: skip


units = st.integers(1, 247)
ticks = st.integers(WALL_NS // TICK_NS, WALL_NS // TICK_NS + 10**9)


def registers_of(tag: Tag) -> int:
    return (tag.length + 1) // 2 if tag.type is ValueType.TEXT else REGISTERS.get(tag.type, 1)


def served(tag: Tag, unit: int, tick: int) -> bytes:
    """The data bytes of a read of exactly this tag, from C."""
    signals, conflicts = arrange([Device(name="d", unit=unit, tags=(tag,))])
    assert conflicts == []
    bus = SimulatedBus(1, unit_bits([unit]), signals, bytes(128))
    function = {Table.HOLDING: 3, Table.INPUT: 4, Table.COIL: 1, Table.DISCRETE: 2}[tag.table]
    request = struct.pack(">HHHBBHH", 0, 0, 6, unit, function, tag.address, registers_of(tag))
    bus.feed(request, 0, tick * TICK_NS)
    return bus.release(0)[9:]


def decoded(tag: Tag, data: bytes) -> int | bytes:
    """The raw value a reader makes of it; written apart from the code under test."""
    if tag.table in (Table.COIL, Table.DISCRETE):
        return data[0] & 1
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    if tag.order in (Order.BADC, Order.DCBA):
        words = [word[::-1] for word in words]
    if tag.type is ValueType.TEXT:
        return b"".join(words)[: tag.length]
    if tag.order in (Order.CDAB, Order.DCBA):
        words.reverse()
    plain = b"".join(words)
    if tag.type is ValueType.BITS:
        return int.from_bytes(plain) >> tag.shift & ((1 << tag.bits) - 1)
    if tag.type in (ValueType.BCD16, ValueType.BCD32):
        return int(plain.hex())
    return int.from_bytes(plain, signed=tag.type in SIGNED) % (1 << 64)


@given(tag=tags(), unit=units, tick=ticks)
def test_c_serves_what_the_formula_says(tag, unit, tick):
    assert decoded(tag, served(tag, unit, tick)) == raw_at(tag, unit, tick)


@pytest.mark.parametrize("case", GOLDEN, ids=[f"{case['type']} of unit {case['unit']}" for case in GOLDEN])
def test_golden_value(case, make_tag):
    length = {"length": case["length"]} if "length" in case else {}
    tag = make_tag("t", Table(case["table"]), case["address"], ValueType[case["type"]], **length)
    raw = expected(tag, case["unit"], case["wall_ns"])
    if isinstance(case["value"], float):
        form = "f" if tag.type is ValueType.F32 else "d"
        assert raw == int.from_bytes(struct.pack(f">{form}", case["value"]))
    elif isinstance(case["value"], str):
        assert raw == case["value"].encode()
    else:
        assert raw == case["value"] % (1 << 64)


@given(tag=tags(), unit=units, wall_ns=st.integers(WALL_NS, WALL_NS + 10**9 * S), shift_ns=st.integers(-S, S))
def test_a_value_is_right_within_the_tolerance(tag, unit, wall_ns, shift_ns):
    assert is_right(tag, unit, expected(tag, unit, wall_ns), wall_ns + shift_ns, S)


WIDE = [kind for kind in ValueType if kind not in (ValueType.BOOL, ValueType.BITS)]


@pytest.mark.parametrize("kind", WIDE)
def test_a_value_of_another_place_or_time_is_wrong(kind, make_tag):
    """One second of tolerance; 16-bit and BCD16 values may be mistaken once in a thousand times, wider ones never."""

    def tag(address: int, table: Table = Table.HOLDING) -> Tag:
        return make_tag("t", table, address, kind)

    others = [
        expected(other, unit, wall_ns)
        for at in range(100, 500)
        for other, unit, wall_ns in [
            (tag(at + 1), 1, WALL_NS), (tag(at - 2), 1, WALL_NS), (tag(at, Table.INPUT), 1, WALL_NS),
            (tag(at), 2, WALL_NS), (tag(at), 1, WALL_NS + 20 * S), (tag(at), 1, WALL_NS - 3600 * S),
        ]
    ]  # fmt: skip
    mistaken = sum(is_right(tag(100 + number // 6), 1, other, WALL_NS, S) for number, other in enumerate(others))
    assert mistaken <= (len(others) * 3 // 1000 if kind in (ValueType.U16, ValueType.I16, ValueType.BCD16) else 0)


@pytest.mark.parametrize("kind", [ValueType.BOOL, ValueType.BITS])
def test_a_bit_is_mistaken_for_another_half_of_the_time_at_most(kind, make_tag):
    table = Table.COIL if kind is ValueType.BOOL else Table.HOLDING
    tags = [make_tag("t", table, at, kind, bits=1) for at in range(1001)]
    values = [expected(tag, 1, WALL_NS) for tag in tags]
    mistaken = sum(is_right(tag, 1, value, WALL_NS, 0) for tag, value in zip(tags[:-1], values[1:], strict=True))
    assert 400 < mistaken < 600


@pytest.mark.parametrize("kind", [ValueType.U32, ValueType.I32, ValueType.U64, ValueType.I64])
@given(unit=units, tick=ticks, address=st.integers(0, 60000), apart=st.integers(1, 1000))
def test_a_value_torn_over_two_reads_is_wrong(kind, unit, tick, address, apart):
    tag = Tag(name="t", table=Table.HOLDING, address=address, type=kind, length=REGISTERS[kind], every_ns=S)
    before, after = served(tag, unit, tick), served(tag, unit, tick + apart)
    torn = decoded(tag, before[:2] + after[2:])
    assume(torn not in (decoded(tag, before), decoded(tag, after)))
    assert not is_right(tag, unit, torn, tick * TICK_NS, 10 * S)


def test_every_part_of_a_block_is_read_as_it_stands_in_the_whole(make_tag):
    tags = [make_tag("f", Table.HOLDING, 1, ValueType.F64), make_tag("i", Table.HOLDING, 5, ValueType.U32)]
    tags += [make_tag("s", Table.HOLDING, 9, ValueType.TEXT, length=7), make_tag("n", Table.HOLDING, 20, ValueType.F32)]
    signals, _ = arrange([Device(name="d", unit=1, tags=tuple(tags))])
    bus = SimulatedBus(1, unit_bits([1]), signals, bytes(128))

    def read(address: int, quantity: int) -> bytes:
        bus.feed(struct.pack(">HHHBBHH", 0, 0, 6, 1, 3, address, quantity), 0, WALL_NS)
        return bus.release(0)[9:]

    whole = read(0, 24)
    parts = [(first, last) for first in range(24) for last in range(first + 1, 25)]
    assert all(read(first, last - first) == whole[2 * first : 2 * last] for first, last in parts)


def test_floats_are_quarters_that_differ_from_tick_to_tick(make_tag):
    tag = make_tag("t", Table.INPUT, 1, ValueType.F32)
    raws = [raw_at(tag, 9, tick).to_bytes(4) for tick in range(1 << 23, (1 << 23) + 10_000)]
    values = [struct.unpack(">f", raw)[0] for raw in raws]
    steps = {after - before for before, after in pairwise(values)}
    assert steps == {0.25}


def test_bits_of_one_register_agree_with_the_register(make_tag):
    word = raw_at(make_tag("t", Table.HOLDING, 7), 3, 12345)
    nibbles = [raw_at(make_tag("t", Table.HOLDING, 7, ValueType.BITS, bits=4, shift=4 * n), 3, 12345) for n in range(4)]
    assert sum(nibble << 4 * n for n, nibble in enumerate(nibbles)) == word
