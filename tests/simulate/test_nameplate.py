"""What simulated devices say of themselves: texts of their maps, and registers by which these recognise them."""

import pytest

from agent.config.model import Bus, Device, Table, Tag
from agent.config.registers import Form
from agent.devices.catalogue import shipped
from agent.devices.model import DeviceId, DeviceMap, Fingerprint, Serial, ServerId
from agent.model import Order, ValueType
from agent.simulate.nameplate import maps_of, nameplates, presets

S = 1_000_000_000


def a_map(*identity) -> DeviceMap:
    return DeviceMap("A title", (), (), identity, Serial(), Device(name="map", unit=1, tags=()))


def tag(address: int, length: int = 1, table: Table = Table.HOLDING) -> Tag:
    return Tag(name="t", table=table, address=address, type=ValueType.U16, length=length, every_ns=S)


def device(unit: int = 1, *tags: Tag, model: str = "m", **settings) -> Device:
    return Device(name="pump", unit=unit, model=model, tags=tags, **settings)


def entries(packed: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while packed:
        found.append((*packed[:3], packed[4 : 4 + packed[3]]))
        packed = packed[4 + packed[3] :]
    return found


def test_a_device_says_what_its_map_wants_to_hear() -> None:
    maps = {"m": a_map(DeviceId("Maker", "M1"), ServerId(b"\x08\xff"))}
    assert entries(nameplates([device(3, firmware="2.1")], maps)) == [
        (3, 17, 0, b"\x08\xff"),
        (3, 43, 0, b"Maker"),
        (3, 43, 1, b"M1"),
        (3, 43, 2, b"2.1"),
        (3, 43, 4, b"A title"),
        (3, 43, 5, b"m"),
        (3, 43, 6, b"pump"),
    ]


def test_devices_stand_in_the_order_of_their_units_and_those_without_a_map_are_left_out() -> None:
    devices = [device(9), device(2), device(4, model="./own.toml"), device(3, model="")]
    assert [entry[0] for entry in entries(nameplates(devices, {"m": a_map()}))] == [2] * 7 + [9] * 7


def test_of_two_devices_with_one_unit_the_first_speaks_for_what_both_are_known_by() -> None:
    maps = {"m": a_map()._replace(title="First"), "n": a_map(DeviceId("Maker", "M1"))}
    said = entries(nameplates([device(2), device(2, model="n")], maps))
    assert [entry for entry in said if entry[2] in (0, 1, 4, 5)] == [
        (2, 17, 0, b"fieldtap\xff"),
        (2, 43, 0, b"Maker"),
        (2, 43, 1, b"M1"),
        (2, 43, 4, b"First"),
        (2, 43, 5, b"m"),
    ]


def test_what_another_device_of_the_unit_reads_is_left_to_it() -> None:
    reader = device(7, tag(10, table=Table.INPUT), model="")
    assert list(presets([device(7), reader], {"m": a_map(LONG)})) == []


def test_a_long_text_ends_where_an_answer_does() -> None:
    maps = {"m": a_map()._replace(title="t" * 300)}
    assert max(len(text) for *_, text in entries(nameplates([device()], maps))) == 244


LONG = Fingerprint(Table.INPUT, 10, Form(ValueType.U32, 2), Order.CDAB, (0x12345678, 5))


def test_registers_hold_what_a_device_is_recognised_by() -> None:
    assert list(presets([device(7)], {"m": a_map(LONG)})) == [(7, 1, 10, 0x5678), (7, 1, 11, 0x1234)]


@pytest.mark.parametrize(
    ("tags", "is_free"),
    [
        ([tag(10, table=Table.INPUT)], False),
        ([tag(11, table=Table.INPUT)], False),
        ([tag(8, 3, Table.INPUT)], False),
        ([tag(10), tag(12, table=Table.INPUT)], True),
    ],
)
def test_what_a_tag_reads_is_left_to_it(tags: list[Tag], is_free: bool) -> None:
    assert bool(list(presets([device(7, *tags)], {"m": a_map(LONG)}))) is is_free


def test_maps_are_those_that_ship_and_are_used() -> None:
    buses = [
        Bus(name="b", port="/dev/x", timeout_ns=S, devices=(device(model="abb-b-series"), device(2, model="./x.toml")))
    ]
    assert maps_of(buses) == {"abb-b-series": shipped()["abb-b-series"]}
