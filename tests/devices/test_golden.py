"""Every map that ships, held to requests and answers whose values were computed apart from the agent (golden/make.py).

And every map once against the simulator's registers, in virtual time.
"""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from agent._native.codec import crc_fits, decode
from agent._native.samples import Samples
from agent._native.server import SimulatedBus
from agent.acquire.plan import BLOCK, compile_plan, request_adu
from agent.batch.record import RECORD, number_value
from agent.config.files import shipped_maps
from agent.config.model import Config, Table
from agent.model import Quality, ValueType
from agent.simulate.faults import pack_faults
from agent.simulate.layout import arrange, unit_bits
from agent.simulate.signal import TICK_NS, raw_at

GOLDEN = Path(__file__).parent / "golden"
RTU_OVERHEAD = 3  # unit, function, byte count
TCP_HEADER = 7
BITS = (1, 2)
TICK = 17_637_696_000
Value = float | str | None


def requests_of(config: Config) -> list[tuple[bytes, bytes]]:
    """Packed blocks and their requests, in the order of the plan."""
    part = compile_plan(config).buses[0]
    blocks = [part.blocks[at : at + BLOCK.size] for at in range(0, len(part.blocks), BLOCK.size)]
    fields = [BLOCK.unpack(block) for block in blocks]
    return [(block, field[-2][: field[8]]) for block, field in zip(blocks, fields, strict=True)]


def read_samples(config: Config, answers: list[bytes]) -> dict[str, tuple[int | bytes, Quality]]:
    """What the compiled decoder makes of the answers' data: raw value and quality by tag."""
    plan = compile_plan(config)
    samples = Samples()
    for (block, _), data in zip(requests_of(config), answers, strict=True):
        decode(block, plan.buses[0].points, data, 0, samples)
    texts: dict[int, bytes] = {}
    found: dict[str, tuple[int | bytes, Quality]] = {}
    for _, raw, number, _, kind, quality, detail, _ in RECORD.iter_unpack(bytes(samples)):
        tag = plan.tags[number]
        assert kind == tag.type
        texts[number] = texts.get(number, b"") + struct.pack("=Q", raw)[:detail]
        value = texts[number] if tag.type is ValueType.TEXT else raw
        found[tag.name.rpartition("/")[2]] = value, Quality(quality)
    return found


def shown(config: Config, answers: list[bytes]) -> dict[str, Value]:
    """Values as a receiver shows them."""
    tags = {tag.name.rpartition("/")[2]: tag for tag in compile_plan(config).tags}
    values: dict[str, Value] = {}
    for name, (raw, quality) in read_samples(config, answers).items():
        if not quality.has_value:
            values[name] = None
        elif isinstance(raw, bytes):
            values[name] = raw.decode()
        else:
            values[name] = number_value(tags[name].type, raw) * tags[name].scale + tags[name].offset
    return values


def same(value: Value, expected: Value) -> bool:
    if isinstance(expected, float | int) and isinstance(value, float | int):
        return math.isclose(value, expected, rel_tol=1e-12)
    return value == expected


class Image:
    """What the answers of a golden file say is in the registers and bits of a device; 0 where they say nothing."""

    def __init__(self, exchanges: list[dict[str, str]]) -> None:
        self._words: dict[tuple[int, int], bytes] = {}
        for exchange in exchanges:
            request, answer = bytes.fromhex(exchange["request"]), bytes.fromhex(exchange["answer"])
            assert crc_fits(request)
            assert crc_fits(answer)
            unit, function, address, quantity = struct.unpack(">BBHH", request[:-2])
            assert request_adu(unit, function, address, quantity, is_tcp=False) == request
            assert answer[:RTU_OVERHEAD] == bytes([unit, function, len(answer) - RTU_OVERHEAD - 2])
            self._take(function, address, quantity, answer[RTU_OVERHEAD:-2])

    def _take(self, function: int, address: int, quantity: int, data: bytes) -> None:
        for at in range(quantity):
            word = bytes([data[at // 8] >> at % 8 & 1]) if function in BITS else data[2 * at : 2 * at + 2]
            self._words[function, address + at] = word

    def answer(self, request: bytes) -> bytes:
        """The data that answer this request."""
        _, function, address, quantity = struct.unpack(">BBHH", request[:-2])
        got = [self._words.get((function, at), b"\0\0") for at in range(address, address + quantity)]
        if function not in BITS:
            return b"".join(got)
        number = sum(word[0] << at for at, word in enumerate(got))
        return number.to_bytes((quantity + 7) // 8, "little")


@pytest.mark.parametrize("name", shipped_maps())
def test_a_map_understands_what_its_golden_file_has_on_the_wire(with_map: Callable[..., Config], name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    config, image = with_map(name), Image(golden["exchanges"])
    values = shown(config, [image.answer(request) for _, request in requests_of(config)])
    assert values.keys() == golden["values"].keys()
    assert {name: value for name, value in values.items() if not same(value, golden["values"][name])} == {}


def test_every_golden_file_is_that_of_a_map() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == sorted(shipped_maps())


@pytest.mark.parametrize("name", shipped_maps())
def test_a_map_reads_from_the_simulator_what_that_serves(with_map: Callable[..., Config], name: str) -> None:
    config = with_map(name, port="tcp://127.0.0.1")
    device = config.buses[0].devices[0]
    signals, conflicts = arrange([device])
    assert conflicts == []
    bus = SimulatedBus(1, unit_bits([device.unit]), signals, pack_faults([], "b"))
    answers = []
    for _, request in requests_of(config):
        bus.feed(request, 0, TICK * TICK_NS)
        answers.append(bus.release(0)[TCP_HEADER + 2 :])
    read = read_samples(config, answers)
    for tag in device.tags:
        raw, quality = read[tag.name]
        if quality.has_value:
            assert raw == raw_at(tag, device.unit, TICK), tag.name
    missing = [tag for tag in device.tags if not read[tag.name][1].has_value and tag.plausible is None]
    assert len(missing) <= 1  # it may hit its sentinel


# Frames as makers and users have published them: unit, request, answer, values.
PUBLISHED = {
    "eastron-sdm120: the manual's example of a voltage": (
        "eastron-sdm120", ["voltage"], "01 04 00 00 00 02 71 cb", "01 04 04 43 66 33 34 1b 38", {"voltage": 230.2},
    ),
    "xy-md02: the seller's example of a temperature": (
        "xy-md02", ["temperature"], "01 04 00 01 00 01 60 0a", "01 04 02 01 31 79 74", {"temperature": 30.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PUBLISHED)
def test_a_published_exchange_means_what_its_author_says(with_map: Callable[..., Config], what: str) -> None:
    name, select, request, answer, values = PUBLISHED[what]
    assert crc_fits(bytes.fromhex(answer))
    config = with_map(name, f"select = {json.dumps(select)}")
    [(_, asked)] = requests_of(config)
    assert asked[1:-2] == bytes.fromhex(request)[1:-2]
    read = shown(config, [bytes.fromhex(answer)[RTU_OVERHEAD:-2]])
    assert {key: round(float(value or 0), 4) for key, value in read.items()} == values


def test_coils_and_registers_of_all_maps_are_of_tables_that_there_are(with_map: Callable[..., Config]) -> None:
    tables = {tag.table for name in shipped_maps() for tag in with_map(name).buses[0].devices[0].tags}
    assert tables == set(Table)
