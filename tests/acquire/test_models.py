"""Looking for SunSpec models: each base once, the chain to its end, and no end that a device could put off for ever."""

import pytest
from sunspec_device import SUNS, UNIT, Registers, chain

from agent.acquire.models import BASES, MAX_MODELS, Search, Survey, confirm
from agent.errors import BusError, DeviceError


@pytest.mark.parametrize("base", BASES)
def test_each_base_is_looked_at_once_in_the_order_of_the_specification_until_one_has_the_mark(base: int) -> None:
    device = Registers(chain(base, (1, 65), (103, 50), (124, 24)))
    survey = device.drive(Search(UNIT).steps())
    assert survey == Survey(base, {1: base + 2, 103: base + 69, 124: base + 121})
    looked = list(BASES[: BASES.index(base) + 1])
    assert device.asked == [*looked, base + 2, base + 69, base + 121, base + 147]


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_device_without_the_mark_is_none_and_says_what_it_holds_instead(code: int) -> None:
    device, search = Registers({0: 0, 1: 1}, code), Search(UNIT)
    assert device.drive(search.steps()) is None
    assert device.asked == list(BASES)
    assert search.words == f"40000: refused with {code}; 0: holds 0x0000 0x0001; 50000: refused with {code}"
    device.held |= chain(0, (1, 66))
    assert device.drive(search.steps()).starts == {1: 2}, "and may be asked again later"


@pytest.mark.parametrize("code", [4, 5, 6, 10, 11])
def test_other_exceptions_tell_nothing_and_end_the_try(code: int) -> None:
    device, search = Registers({}, code), Search(UNIT)
    with pytest.raises(DeviceError):
        device.drive(search.steps())
    assert device.asked == [BASES[0]]
    device.code = 2
    assert device.drive(search.steps()) is None
    assert device.asked == [BASES[0], *BASES]


def test_a_base_that_is_not_answered_comes_last_and_no_base_that_was_is_asked_again() -> None:
    device, search = Registers(chain(50_000, (1, 66)), silent=(40_000,)), Search(UNIT)
    with pytest.raises(BusError):
        device.drive(search.steps())
    assert search.words == "it does not answer"
    assert device.drive(search.steps()).base == 50_000
    assert device.asked[:3] == [40_000, 0, 50_000]


def test_what_was_heard_is_told_beside_what_was_not() -> None:
    device, search = Registers({40_000: 1, 40_001: 2}, silent=(0,)), Search(UNIT)
    with pytest.raises(BusError):
        device.drive(search.steps())
    assert search.words == "40000: holds 0x0001 0x0002; 0: no answer yet; 50000: no answer yet"


def test_a_silent_device_is_asked_one_question_a_try() -> None:
    device, search = Registers({}, code=None), Search(UNIT)
    for _ in range(6):
        with pytest.raises(BusError):
            device.drive(search.steps())
    assert device.asked == [*BASES, *BASES]


def test_a_silence_in_the_chain_tells_nothing() -> None:
    device, search = Registers(chain(0, (1, 66), (103, 50)), silent=(70,)), Search(UNIT)
    with pytest.raises(BusError):
        device.drive(search.steps())
    device.silent = ()
    assert device.drive(search.steps()).starts == {1: 2, 103: 70}


def test_a_chain_may_end_with_a_refusal_instead_of_its_mark() -> None:
    assert Registers(chain(0, (1, 66), (103, 50), end=False)).drive(Search(UNIT).steps()).starts == {1: 2, 103: 70}


def test_of_several_models_of_one_number_the_first_is_told() -> None:
    survey = Registers(chain(0, (1, 66), (203, 105), (203, 105), (203, 105))).drive(Search(UNIT).steps())
    assert survey == Survey(0, {1: 2, 203: 70}, frozenset({203}))


def test_no_device_keeps_the_search_from_its_end() -> None:
    zeros = Registers(dict.fromkeys(range(65536), 0) | chain(0, end=False))
    assert zeros.drive(Search(UNIT).steps()).starts == {0: 2}
    assert len(zeros.asked) == 2 + MAX_MODELS
    long = Registers(dict.fromkeys(range(65_536), 60_000) | dict(enumerate(SUNS, 40_000)))
    assert long.drive(Search(UNIT).steps()).starts == {60_000: 40_002}


def test_what_is_remembered_is_confirmed_by_the_number_of_each_model() -> None:
    device = Registers(chain(0, (1, 66), (103, 50)))
    assert device.drive(confirm(UNIT, {1: 2, 103: 70})) is None
    assert device.asked == [2, 70]
    assert device.drive(confirm(UNIT, {1: 2, 103: 69})) == 103
    assert device.drive(confirm(UNIT, {1: 2, 103: 40_070})) == 103
    with pytest.raises(BusError):
        Registers({}, code=None).drive(confirm(UNIT, {1: 2}))
    with pytest.raises(DeviceError):
        Registers({}, code=6).drive(confirm(UNIT, {1: 2}))
