"""What is said about a bus that is asked for too much."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from agent.acquire.admission import overloads, slowdown
from agent.acquire.plan import Plan, compile_plan
from agent.config.model import Config, Device, Table, Tag

MS = 1_000_000


@pytest.mark.parametrize(
    ("every_ms", "words"),
    [
        (100, []),
        (20, ["83", "none"]),
        (19, ["which leaves little for retries"]),
        (10, ["1.7 times as late as asked", "every 10 ms of device 'd' cannot be kept"]),
    ],
)
def test_a_bus_is_told_what_it_cannot_keep(
    make_config: Callable[..., Config],
    make_device: Callable[..., Device],
    make_tag: Callable[..., Tag],
    every_ms: int,
    words: list[str],
) -> None:
    config = make_config(make_device([make_tag(Table.HOLDING, 0, every_ns=every_ms * MS)]))
    plan = compile_plan(config)
    said = overloads(config, plan)
    assert plan.buses[0].block_info[0].transaction_ns == pytest.approx(16.6 * MS, rel=0.01)
    expected = [] if "none" in words else words
    assert len(said) == len(expected)
    assert all(word in sentence for word, sentence in zip(expected, said, strict=True))


def test_a_long_read_is_named_when_a_short_period_waits_for_it(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    long = make_device([make_tag(Table.HOLDING, at, every_ns=60_000 * MS) for at in range(120)], name="long")
    quick = make_device([make_tag(Table.HOLDING, 0, every_ns=100 * MS)], name="quick", unit=2)
    config = make_config(long, quick)
    (said,) = overloads(config, compile_plan(config))
    start = "bus 'b': every 100 ms of device 'quick' cannot be kept, because a read of device 'long' takes 153 ms"
    assert said.startswith(start)
    most = int(said.removeprefix(start).removeprefix("; max_registers = ").split()[0])
    assert overloads(*planned(make_config(replace(long, max_registers=most), quick))) == []
    assert len(overloads(*planned(make_config(replace(long, max_registers=most + 1), quick)))) == 1


def planned(config: Config) -> tuple[Config, Plan]:
    return config, compile_plan(config)


def test_no_shorter_read_helps_a_period_that_is_shorter_than_any(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    slow = make_device([make_tag(Table.HOLDING, 0, every_ns=1000 * MS)], gap_ns=30 * MS)
    quick = make_device([make_tag(Table.HOLDING, 0, every_ns=30 * MS)], name="quick", unit=2)
    said = overloads(*planned(make_config(slow, quick)))
    assert said[-1].endswith("""because a read of device 'd' takes 45 ms; nothing below every = "45ms" can be""")


@pytest.mark.parametrize(
    ("settings", "every_ms", "remedy"),
    [
        (
            {"baud": 9600},
            25,
            "to get to 85 %: baud = 19200 (66 %), or every = \"32ms\" instead of 25 ms for device 'd'",
        ),
        (
            {"protocol": "modbus-tcp", "port": "tcp://h"},
            2,
            "to get to 85 %: every = \"3ms\" instead of 2 ms for device 'd'",
        ),
    ],
)
def test_the_remedies_that_are_named_help(
    make_config: Callable[..., Config],
    make_device: Callable[..., Device],
    make_tag: Callable[..., Tag],
    settings: dict[str, Any],
    every_ms: int,
    remedy: str,
) -> None:
    config = make_config(make_device([make_tag(Table.HOLDING, 0, every_ns=every_ms * MS)]), **settings)
    assert remedy in overloads(*planned(config))[0]
    slower_ms = int(remedy.partition('every = "')[2].partition("ms")[0])
    slower = make_config(make_device([make_tag(Table.HOLDING, 0, every_ns=slower_ms * MS)]), **settings)
    assert overloads(*planned(slower)) == []
    if "baud" in remedy:
        faster = make_config(config.buses[0].devices[0], **{**settings, "baud": 19200})
        assert overloads(*planned(faster)) == []


def test_many_devices_that_are_too_fast_together_are_told_so_together(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    devices = [
        make_device([make_tag(Table.HOLDING, 0, every_ns=100 * MS)], name=f"d{at}", unit=at) for at in range(1, 21)
    ]
    (said,) = overloads(*planned(make_config(*devices)))
    assert "every 3.9 times as long for all devices" in said
    assert slowdown(compile_plan(make_config(*devices)).buses[0]) == pytest.approx(3.9, abs=0.02)


def test_a_pause_between_devices_costs_time_only_where_there_are_two(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    one = make_device([make_tag(Table.HOLDING, 0)])
    two = make_device([make_tag(Table.HOLDING, 0)], name="e", unit=2)
    plain, paused = (compile_plan(make_config(one, two, switch_ns=ns)).buses[0] for ns in (0, 50 * MS))
    assert paused.utilisation - plain.utilisation == pytest.approx(2 * 0.048, abs=0.001)
    alone = make_config(one, switch_ns=50 * MS)
    assert compile_plan(alone) == compile_plan(make_config(one))


def test_an_idle_bus_is_no_trouble(make_config: Callable[..., Config]) -> None:
    assert overloads(*planned(make_config())) == []
