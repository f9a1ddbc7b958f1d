"""Simulated SunSpec devices have the chain of models by which theirs are found."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from sunspec_device import UNIT, Registers

from agent.acquire.models import Search
from agent.config.model import Device, Table, Tag
from agent.config.sunspec import laid_out
from agent.model import NS_PER_S, ValueType
from agent.simulate.signal import TABLES
from agent.simulate.sunspec import chains


@pytest.fixture
def model() -> Callable[..., Device]:
    def make(number: int, start: int, last: int = 51, **settings: object) -> Device:
        tag = Tag(
            name="t", table=Table.HOLDING, address=start + last, type=ValueType.U16, moves=True, every_ns=NS_PER_S
        )
        return Device(name=f"m{number}", unit=UNIT, sunspec=number, start=start, tags=(tag,), **settings)

    return make


def found(*devices: Device) -> dict[int, int]:
    held = {}
    for unit, table, address, value in chains(devices):
        assert (unit, TABLES[table]) == (UNIT, Table.HOLDING)
        held[address] = value
    survey = Registers(held).drive(Search(UNIT).steps())
    return dict(survey.starts) if survey else {}


@pytest.mark.parametrize("start", [2, 70, 40_002, 40_070, 50_002, 50_069])
def test_one_model_is_found_where_it_is(model: Callable[..., Device], start: int) -> None:
    assert found(model(103, start))[103] == start


def test_several_models_are_found_in_any_order_and_with_others_between_them(model: Callable[..., Device]) -> None:
    devices = model(124, 40_200), model(1, 40_002), model(103, 40_070)
    assert {number: start for number, start in found(*devices).items() if number < 64_000} == {
        1: 40_002, 103: 40_070, 124: 40_200,
    }  # fmt: skip


def test_models_that_the_configuration_lays_one_behind_the_other_are_found_there(model: Callable[..., Device]) -> None:
    devices = laid_out([model(103, 40_070), model(124, 40_070, part_of="m103")])
    assert found(*devices) == {1: 40_002, 103: 40_070, 124: 40_122}


def test_a_device_that_says_where_its_model_is_has_no_chain(model: Callable[..., Device]) -> None:
    assert list(chains([replace(model(103, 40_070), sunspec=0)])) == []
