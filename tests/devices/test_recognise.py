"""Recognising devices: which registers are worth reading, and which maps fit what a device says."""

import pytest

from agent.config.model import Device, Table
from agent.config.registers import Form
from agent.devices.catalogue import shipped
from agent.devices.model import DeviceId, DeviceMap, Fingerprint, Identity, Serial, ServerId
from agent.devices.recognise import Fit, Place, Traits, fits, on_wire, place_of, places
from agent.model import Order, ValueType

SHIPPED = shipped()
U16, U32 = Form(ValueType.U16), Form(ValueType.U32, 2)


def a_map(*identity) -> DeviceMap:
    return DeviceMap("a title", (), (), identity, Serial(), Device(name="map", unit=1, tags=()))


def holding(address: int, *values, form: Form = U16, order: Order = Order.ABCD) -> Fingerprint:
    return Fingerprint(Table.HOLDING, address, form, order, values)


RECOGNISABLE = {name: one for name, one in SHIPPED.items() if one.identity}


def test_some_maps_that_ship_say_how_their_devices_are_recognised() -> None:
    assert len(RECOGNISABLE) >= 21


def traits_of(identity: Identity) -> list[Traits]:
    """What devices say that have it: one for each value of a register."""
    if isinstance(identity, ServerId):
        return [Traits(server_id=identity.begins + b"\xff")]
    if isinstance(identity, DeviceId):
        return [Traits({0: identity.vendor.encode(), 1: f"{identity.product}999".encode()})]
    return [Traits(registers={place_of(identity): on_wire(identity, value)[0]}) for value in identity.values]


@pytest.mark.parametrize("name", RECOGNISABLE)
def test_a_device_of_a_shipped_map_is_recognised_and_is_no_other(name: str) -> None:
    for identity in RECOGNISABLE[name].identity:
        for traits in traits_of(identity):
            assert [fit.name for fit in fits(SHIPPED, traits)] == [name]


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("carlo-gavazzi-et112", Traits(registers={Place(Table.HOLDING, 11, 1): b"\x00\x78"})),
        ("carlo-gavazzi-em24", Traits(registers={Place(Table.HOLDING, 11, 1): b"\x00\x48"})),
        ("inepro-pro380", Traits(registers={Place(Table.HOLDING, 0x1010, 1): b"\x20\x07"})),
        ("schneider-iem3000", Traits({0: b"Schneider Electric", 1: b"A9MEM3155", 2: b"001.002.003"})),
        ("socomec-countis-e", Traits(registers={Place(Table.HOLDING, 50_000, 5): b"\0S\0O\0C\0O\0\x64"})),
        ("wiren-board-wb-msw-v3", Traits(registers={Place(Table.INPUT, 200, 6): b"\0W\0B\0M\0S\0W\x003"})),
        ("", Traits({0: b"Schneider Electric", 1: b"METSEPM3250"})),
        ("", Traits(registers={Place(Table.HOLDING, 50_000, 5): b"\0S\0O\0C\0O\x01\x90"})),  # a DIRIS
        ("", Traits(registers={Place(Table.INPUT, 200, 6): b"\0W\0B\0M\0S\0W\x002"})),
        ("", Traits(registers={Place(Table.HOLDING, 11, 1): b"\x00\x69"})),
    ],
)
def test_what_devices_answer_according_to_their_makers_is_recognised(name: str, traits: Traits) -> None:
    assert [fit.name for fit in fits(SHIPPED, traits)] == ([name] if name else [])


def test_a_device_that_says_nothing_fits_nothing() -> None:
    assert fits(SHIPPED, Traits()) == []


def test_registers_that_several_maps_look_at_are_read_once() -> None:
    maps = [a_map(holding(11, 1)), a_map(holding(11, 2), ServerId(b"x")), a_map(holding(3, 7, form=U32))]
    assert places(maps) == [Place(Table.HOLDING, 3, 2), Place(Table.HOLDING, 11, 1)]


def test_a_map_that_moves_is_looked_for_where_it_starts() -> None:
    assert place_of(SHIPPED["sunspec-103"].identity[0]) == Place(Table.HOLDING, 40070, 1)


@pytest.mark.parametrize(
    ("identity", "traits", "reason"),
    [
        (DeviceId("Maker", "M1"), Traits({0: b"Maker Inc.", 1: b"M100"}), "it says that it is Maker M1"),
        (DeviceId("Maker", "M1"), Traits({0: b"Maker Inc.", 1: b"N1"}), ""),
        (DeviceId("Maker", "M1"), Traits({0: b"Maker Inc."}), ""),
        (ServerId(b"\x08\xff"), Traits(server_id=b"\x08\xff\x01"), "its server id begins with 08 ff"),
        (ServerId(b"\x08\xff"), Traits(server_id=b"\x08"), ""),
        (holding(3, 5, 6), Traits(registers={Place(Table.HOLDING, 3, 1): b"\0\6"}), "holding:3 holds 6"),
        (holding(3, 5, 6), Traits(registers={Place(Table.HOLDING, 3, 1): b"\0\7"}), ""),
        (holding(3, 5, 6), Traits(registers={Place(Table.INPUT, 3, 1): b"\0\6"}), ""),
        (
            holding(3, 0x12345678, form=U32, order=Order.CDAB),
            Traits(registers={Place(Table.HOLDING, 3, 2): bytes.fromhex("56781234")}),
            "holding:3 holds 0x12345678",
        ),
        (
            holding(3, "AB", form=Form(ValueType.TEXT, 4)),
            Traits(registers={Place(Table.HOLDING, 3, 2): b"AB  "}),
            "holding:3 holds 'AB'",
        ),
        (
            holding(3, "AB", form=Form(ValueType.TEXT, 2, is_wide=True)),
            Traits(registers={Place(Table.HOLDING, 3, 2): b"\0A\0B"}),
            "holding:3 holds 'AB'",
        ),
        (
            holding(3, 5, form=Form(ValueType.BITS, 1, 3, 4)),
            Traits(registers={Place(Table.HOLDING, 3, 1): b"\x12\xd4"}),
            "holding:3 holds 5",
        ),
        (
            holding(3, 5, form=Form(ValueType.BITS, 1, 3, 4)),
            Traits(registers={Place(Table.HOLDING, 3, 1): b"\x12\xc4"}),
            "",
        ),
        (
            holding(3, 2, form=Form(ValueType.F32, 2)),
            Traits(registers={Place(Table.HOLDING, 3, 2): b"\x40\0\0\0"}),
            "holding:3 holds 2",
        ),
        (
            holding(3, -2, form=Form(ValueType.I16)),
            Traits(registers={Place(Table.HOLDING, 3, 1): b"\xff\xfe"}),
            "holding:3 holds -2",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_one_identity_of_each_kind(identity, traits: Traits, reason: str) -> None:
    found = fits({"m": a_map(identity)}, traits)
    assert [fit.reasons for fit in found] == ([(reason,)] if reason else [])


def test_any_identity_is_enough_and_all_that_fit_are_told() -> None:
    one = a_map(ServerId(b"\x07"), holding(3, 5), holding(4, 5))
    traits = Traits(registers={Place(Table.HOLDING, 3, 1): b"\0\5", Place(Table.HOLDING, 4, 1): b"\0\5"})
    assert fits({"m": one}, traits) == [Fit("m", "a title", ("holding:3 holds 5", "holding:4 holds 5"), 2)]


def test_the_map_for_which_more_bytes_speak_comes_first() -> None:
    maps = {"a": a_map(holding(3, 5)), "b": a_map(DeviceId("Maker", "M1")), "c": a_map(ServerId(b"\x08\xff\1"))}
    traits = Traits({0: b"Maker", 1: b"M1"}, b"\x08\xff\1", {Place(Table.HOLDING, 3, 1): b"\0\5"})
    assert [fit.name for fit in fits(maps, traits)] == ["b", "c", "a"]
