"""A tag's sentinel and plausible values as the compiled decoder has them."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.acquire.checks import Flag, flags_of, raw_range
from agent.config.model import Table, Tag
from agent.model import ValueType


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        ({}, Flag(0)),
        ({"sentinel": 0}, Flag.SENTINEL),
        ({"sentinel_empty": True, "type": ValueType.F32, "length": 2}, Flag.SENTINEL_NAN),
        ({"sentinel_empty": True, "type": ValueType.TEXT, "length": 8}, Flag.SENTINEL_EMPTY),
        ({"plausible": (0.0, 1.0)}, Flag.RANGE),
        ({"scale_address": 0}, Flag.SCALED),
        ({"sentinel": 0x8000, "scale_address": 4, "plausible": (0.0, 1.0)}, Flag.SENTINEL | Flag.SCALED | Flag.RANGE),
    ],
)
def test_each_wish_is_a_flag(make_tag: Callable[..., Tag], asked: dict[str, object], flags: Flag) -> None:
    asked = {"type": ValueType.U16, **asked}
    assert flags_of(make_tag(Table.HOLDING, 0, asked.pop("type"), **asked)) == flags


@given(st.integers(-30_000, 30_000), st.integers(1, 999), st.integers(0, 4), st.integers(-500, 500))
def test_the_limit_itself_is_plausible_and_the_next_raw_number_is_not(
    raw: int, digits: int, decimals: int, offset: int
) -> None:
    """As decimals: 3 * 0.1 + 0.0 is the limit 0.3, although floats disagree."""
    scale, limit = digits / 10**decimals, (raw * digits + offset * 10**decimals) / 10**decimals
    tag = Tag(
        name="t", table=Table.HOLDING, address=0, type=ValueType.I16, every_ns=1, scale=scale, offset=float(offset)
    )
    least, most = raw_range(_with_plausible(tag, (limit, limit)))
    assert (least, most) == (raw, raw)


def test_a_negative_scale_turns_the_limits_round(make_tag: Callable[..., Tag]) -> None:
    tag = make_tag(Table.HOLDING, 0, ValueType.I16, scale=-0.5, plausible=(-10.0, math.inf))
    assert raw_range(tag) == (-math.inf, 20.0)


def test_a_limit_of_an_f32_is_the_f32_that_a_device_would_send(make_tag: Callable[..., Tag]) -> None:
    least, most = raw_range(make_tag(Table.HOLDING, 0, ValueType.F32, length=2, plausible=(0.1, 1e300)))
    assert (least, most) == (0.10000000149011612, 1e300)


def _with_plausible(tag: Tag, plausible: tuple[float, float]) -> Tag:
    return Tag(**{**{field: getattr(tag, field) for field in tag.__struct_fields__}, "plausible": plausible})
