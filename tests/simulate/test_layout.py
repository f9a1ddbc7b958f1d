"""Which tag has which registers."""

import struct

from agent.config.model import Device, Table
from agent.model import Order, ValueType
from agent.simulate.layout import SIGNAL, arrange


def layout(*tags, unit=1):
    signals, conflicts = arrange([Device(name="d", unit=unit, tags=tags)])
    return [struct.unpack_from("=HHHBBBB", signals, at) for at in range(0, len(signals), SIGNAL.size)], conflicts


def test_plain_registers_and_bits_need_no_entry(make_tag):
    coils = [make_tag("c", table, 1, ValueType.BOOL) for table in (Table.COIL, Table.DISCRETE)]
    words = [make_tag("a", Table.HOLDING, 1), make_tag("b", Table.INPUT, 2, ValueType.I16, order=Order.CDAB)]
    assert layout(*coils, *words, make_tag("c", Table.HOLDING, 3, ValueType.BITS, bits=2)) == ([], [])


def test_signals_stand_in_the_order_of_unit_table_and_address(make_tag):
    tags = [make_tag("a", Table.INPUT, 9, ValueType.F32), make_tag("b", Table.INPUT, 3, ValueType.F64)]
    devices = [
        Device(name="x", unit=7, tags=(*tags, make_tag("c", Table.HOLDING, 50, ValueType.U32))),
        Device(name="y", unit=2, tags=tuple(tags)),
    ]
    signals, _ = arrange(devices)
    places = [SIGNAL.unpack_from(signals, at) for at in range(0, len(signals), SIGNAL.size)]
    assert [(unit, table, address) for address, _, _, unit, table, _, _ in places] == [
        (2, 1, 3), (2, 1, 9), (7, 0, 50), (7, 1, 3), (7, 1, 9),
    ]  # fmt: skip


def test_text_of_odd_length_takes_a_whole_register_more(make_tag):
    assert layout(make_tag("t", Table.HOLDING, 1, ValueType.TEXT, length=5, order=Order.DCBA)) == (
        [(1, 3, 5, 1, 0, ValueType.TEXT, Order.BADC)],
        [],
    )


def test_tags_that_read_the_same_registers_in_the_same_way_share_them(make_tag):
    signed, unsigned = make_tag("s", Table.HOLDING, 4, ValueType.I32), make_tag("u", Table.HOLDING, 4, ValueType.U32)
    signals, conflicts = layout(signed, unsigned)
    assert (len(signals), conflicts) == (1, [])


def test_the_first_tag_has_the_register_and_the_other_one_is_named(make_tag):
    wide = make_tag("wide", Table.HOLDING, 4, ValueType.F32)
    swapped = make_tag("swapped", Table.HOLDING, 4, ValueType.F32, order=Order.CDAB)
    low = make_tag("low", Table.HOLDING, 5)
    assert layout(wide, swapped, low)[1] == ["d/swapped", "d/low"]
    assert layout(low, wide) == ([], ["d/wide"])


def test_equal_addresses_of_other_units_and_tables_do_not_meet(make_tag):
    tags = tuple(make_tag("t", table, 4, ValueType.F32) for table in (Table.HOLDING, Table.INPUT))
    _, conflicts = arrange([Device(name="a", unit=1, tags=tags), Device(name="b", unit=2, tags=tags)])
    assert conflicts == []
