"""The cost model against the published ceilings of a line."""

from collections.abc import Callable

import pytest

from agent._native.codec import to_ascii
from agent.acquire.plan import request_adu
from agent.acquire.wire import character_time_ns, data_bytes, line_of, silence_time_ns
from agent.config.model import Config, Table

NS_PER_S = 1_000_000_000
# Polls a second of N registers at 8N1, the device answering after t3.5 and the host after nothing.
CEILINGS = [
    (9600, 1, 43.6), (9600, 2, 40.0), (9600, 10, 24.0), (9600, 50, 8.0), (9600, 125, 3.6),
    (19200, 1, 87.3), (19200, 10, 48.0), (19200, 125, 7.1),
    (38400, 1, 135), (38400, 10, 82.7), (38400, 125, 13.9),
    (115200, 1, 208), (115200, 10, 157), (115200, 50, 75), (115200, 125, 38),
    (1_000_000, 1, 274), (1_000_000, 50, 216), (1_000_000, 125, 163),
]  # fmt: skip


@pytest.mark.parametrize(("baud", "registers", "per_s"), CEILINGS)
def test_the_ceiling_of_a_line_is_the_published_one(
    make_config: Callable[..., Config], baud: int, registers: int, per_s: float
) -> None:
    line = line_of(make_config(baud=baud, parity="N").buses[0])
    transaction_ns = line.wire_ns(Table.HOLDING, registers) + 2 * line.silence_ns
    assert transaction_ns / NS_PER_S == pytest.approx(1 / per_s, rel=0.016)


@pytest.mark.parametrize(
    ("parity", "stop_bits", "bits"), [("N", 1, 10), ("E", 1, 11), ("O", 1, 11), ("N", 2, 11), ("E", 2, 12)]
)
def test_a_character_has_its_parity_and_stop_bits(
    make_config: Callable[..., Config], parity: str, stop_bits: int, bits: int
) -> None:
    [bus] = make_config(baud=1_000_000, parity=parity, stop_bits=stop_bits).buses
    assert character_time_ns(bus) == bits * 1000


def test_a_character_of_ascii_is_a_bit_shorter(make_config: Callable[..., Config]) -> None:
    [bus] = make_config(baud=1_000_000, protocol="modbus-ascii", data_bits=7).buses
    assert character_time_ns(bus) == 10_000


@pytest.mark.parametrize("registers", [1, 10, 125])
def test_a_read_in_ascii_costs_its_characters(make_config: Callable[..., Config], registers: int) -> None:
    [bus] = make_config(baud=9600, protocol="modbus-ascii", data_bits=7).buses
    request = to_ascii(request_adu(1, 3, 0, registers, is_tcp=False))
    answer = to_ascii(bytes(3 + 2 * registers + 2))
    characters = len(request) + len(answer)
    assert line_of(bus).wire_ns(Table.HOLDING, registers) == characters * character_time_ns(bus)


def test_above_19200_baud_the_silence_no_longer_shrinks() -> None:
    assert silence_time_ns(100_000, 19_200) == 350_000
    assert silence_time_ns(100_000, 19_201) == 1_750_000


def test_a_slow_device_costs_its_own_silence(make_config: Callable[..., Config]) -> None:
    line = line_of(make_config().buses[0])
    plain = line.transaction_ns(Table.HOLDING, 1)
    assert line.transaction_ns(Table.HOLDING, 1, gap_ns=line.silence_ns) == plain
    assert line.transaction_ns(Table.HOLDING, 1, gap_ns=line.silence_ns + 5) == plain + 5


def test_bits_come_eight_to_a_byte_and_registers_are_two() -> None:
    assert [data_bytes(Table.COIL, n) for n in (1, 8, 9, 2000)] == [1, 1, 2, 250]
    assert [data_bytes(Table.INPUT, n) for n in (1, 125)] == [2, 250]


def test_over_tcp_registers_cost_next_to_nothing_and_requests_a_round_trip(make_config: Callable[..., Config]) -> None:
    line = line_of(make_config(protocol="modbus-tcp").buses[0])
    assert line.transaction_ns(Table.HOLDING, 125) < 1.05 * line.transaction_ns(Table.HOLDING, 1)
