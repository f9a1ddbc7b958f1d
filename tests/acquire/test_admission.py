"""What is said about a bus that is asked for too much."""

from collections.abc import Callable

import pytest

from agent.acquire.admission import overloads
from agent.acquire.plan import compile_plan
from agent.config.model import Config, Device, Table, Tag

MS = 1_000_000


@pytest.mark.parametrize(
    ("every_ms", "words"),
    [
        (100, []),
        (20, ["83", "none"]),
        (19, ["which leaves little for retries"]),
        (10, ["some `every` cannot be kept", "every 10 ms of device 'd' cannot be kept"]),
    ],
)
def test_a_bus_is_told_what_it_cannot_keep(
    make_config: Callable[..., Config],
    make_device: Callable[..., Device],
    make_tag: Callable[..., Tag],
    every_ms: int,
    words: list[str],
) -> None:
    plan = compile_plan(make_config(make_device([make_tag(Table.HOLDING, 0, every_ns=every_ms * MS)])))
    said = overloads(plan)
    assert plan.buses[0].block_info[0].transaction_ns == pytest.approx(16.6 * MS, rel=0.01)
    expected = [] if "none" in words else words
    assert len(said) == len(expected)
    assert all(word in sentence for word, sentence in zip(expected, said, strict=True))


def test_a_long_read_is_named_when_a_short_period_waits_for_it(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    long = make_device([make_tag(Table.HOLDING, at, every_ns=60_000 * MS) for at in range(120)], name="long")
    quick = make_device([make_tag(Table.HOLDING, 0, every_ns=100 * MS)], name="quick", unit=2)
    (said,) = overloads(compile_plan(make_config(long, quick)))
    assert said.startswith(
        "bus 'b': every 100 ms of device 'quick' cannot be kept, because a read of device 'long' takes 1"
    )


def test_an_idle_bus_is_no_trouble(make_config: Callable[..., Config]) -> None:
    assert overloads(compile_plan(make_config())) == []
