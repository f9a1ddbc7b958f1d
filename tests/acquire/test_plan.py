"""The packed plan: the very layout of plan.h, requests as they go over the wire, numbers in their promised order."""

import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import records

from agent._native.codec import decode
from agent._native.samples import Samples
from agent.acquire.limits import Learned
from agent.acquire.merge import block_of
from agent.acquire.plan import BLOCK, MAX_PHASE_NS, POINT, DeviceKey, compile_plan, pack, request_adu
from agent.acquire.wire import data_bytes
from agent.config.model import Config, Device, Table, Tag
from agent.model import DeadbandKind, Order, ValueType

CORE = Path(__file__).parents[2] / "_native" / "core"
BLOCK_FIELDS = (
    "period_ns", "phase_ns", "timeout_ns", "gap_ns", "group", "device", "first_point", "point_count",
    "request_bytes", "response_bytes", "unit", "function", "address", "quantity", "request", "bounds",
)  # fmt: skip
POINT_FIELDS = (
    "tag", "at", "length", "type", "order", "bits", "shift",
    "scale_at", "flags", "reserved", "sentinel", "least", "most",
)  # fmt: skip
NS_PER_S = 1_000_000_000
LENGTHS = {
    **dict.fromkeys((ValueType.U16, ValueType.I16, ValueType.BCD16, ValueType.BOOL), 1),
    **dict.fromkeys((ValueType.U32, ValueType.I32, ValueType.F32, ValueType.BCD32), 2),
    **dict.fromkeys((ValueType.U64, ValueType.I64, ValueType.F64), 4),
    ValueType.TEXT: 8,  # bytes
}


def blocks_of(plan_blocks: bytes) -> list[dict[str, int]]:
    return [dict(zip(BLOCK_FIELDS, fields, strict=True)) for fields in BLOCK.iter_unpack(plan_blocks)]


def points_of(plan_points: bytes) -> list[dict[str, int]]:
    return [dict(zip(POINT_FIELDS, fields, strict=True)) for fields in POINT.iter_unpack(plan_points)]


@pytest.mark.parametrize(
    ("name", "packed", "fields"), [("ft_block", BLOCK, BLOCK_FIELDS), ("ft_point", POINT, POINT_FIELDS)]
)
def test_the_arrays_have_the_layout_that_the_c_compiler_gives_the_header(
    tmp_path: Path, name: str, packed: struct.Struct, fields: tuple[str, ...]
) -> None:
    lines = "".join(
        f'printf("%zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));' for field in fields
    )
    includes = '#include <stddef.h>\n#include <stdio.h>\n#include "plan.h"\n'
    source = f'{includes}int main(void) {{ printf("%zu 0\\n", sizeof({name})); {lines} }}'
    (tmp_path / "layout.c").write_text(source)
    subprocess.run(["cc", "-std=c11", f"-I{CORE}", "-o", tmp_path / "layout", tmp_path / "layout.c"], check=True)
    size, *in_c = [
        tuple(map(int, line.split())) for line in subprocess.check_output([tmp_path / "layout"], text=True).splitlines()
    ]
    assert size == (packed.size, 0)
    assert in_c == layout(packed.format)
    assert members((CORE / "plan.h").read_text(), name) == list(fields)


def layout(format_: str) -> list[tuple[int, int]]:
    """Offset and size of every field of a struct format without padding."""
    sizes = [struct.calcsize(f"={code}") for code in re.findall(r"\d+s|[A-Za-z]", format_)]
    return [(sum(sizes[:index]), size) for index, size in enumerate(sizes)]


def members(header: str, name: str) -> list[str]:
    body = re.search(rf"struct {name} {{(.*?)}}", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL), re.DOTALL)
    assert body
    return re.findall(r"\w+ (\w+)(?:\[\w+\])?;", body[1])


REQUESTS = [
    # unit, function, address, quantity, as RTU, as TCP
    (1, 3, 0, 10, "01 03 00 00 00 0A C5 CD", "00 00 00 00 00 06 01 03 00 00 00 0A"),
    (17, 3, 0x6B, 3, "11 03 00 6B 00 03 76 87", "00 00 00 00 00 06 11 03 00 6B 00 03"),
    (17, 1, 0x13, 37, "11 01 00 13 00 25 0E 84", "00 00 00 00 00 06 11 01 00 13 00 25"),
    (17, 2, 0xC4, 22, "11 02 00 C4 00 16 BA A9", "00 00 00 00 00 06 11 02 00 C4 00 16"),
    (17, 4, 8, 1, "11 04 00 08 00 01 B2 98", "00 00 00 00 00 06 11 04 00 08 00 01"),
]


@pytest.mark.parametrize(("unit", "function", "address", "quantity", "rtu", "tcp"), REQUESTS)
def test_requests_are_encoded_as_published(
    unit: int, function: int, address: int, quantity: int, rtu: str, tcp: str
) -> None:
    assert request_adu(unit, function, address, quantity, is_tcp=False) == bytes.fromhex(rtu)
    assert request_adu(unit, function, address, quantity, is_tcp=True) == bytes.fromhex(tcp)


@pytest.mark.parametrize(
    ("table", "function", "rtu_bytes", "tcp_bytes"),
    [
        (Table.COIL, 1, 5 + 2, 9 + 2),
        (Table.DISCRETE, 2, 5 + 2, 9 + 2),
        (Table.HOLDING, 3, 5 + 18, 9 + 18),
        (Table.INPUT, 4, 5 + 18, 9 + 18),
    ],
)
def test_every_table_has_its_function_and_length_of_answer(
    make_config: Callable[..., Config],
    make_device: Callable[..., Device],
    make_tag: Callable[..., Tag],
    table: Table,
    function: int,
    rtu_bytes: int,
    tcp_bytes: int,
) -> None:
    for protocol, response_bytes, request_bytes in (("modbus-rtu", rtu_bytes, 8), ("modbus-tcp", tcp_bytes, 12)):
        plan = compile_plan(make_config(make_device([make_tag(table, 20), make_tag(table, 28)]), protocol=protocol))
        (block,) = blocks_of(plan.buses[0].blocks)
        assert (block["function"], block["address"], block["quantity"]) == (function, 20, 9)
        assert (block["request_bytes"], block["response_bytes"]) == (request_bytes, response_bytes)


def test_a_block_carries_the_settings_of_its_bus_and_device(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    devices = (
        make_device([make_tag(Table.HOLDING, 1)]),
        make_device([make_tag(Table.HOLDING, 2, every_ns=5)], name="e", unit=9, gap_ns=77),
    )
    plan = compile_plan(make_config(*devices, timeout_ns=123))
    assert plan.buses[0].devices == ("d", "e")
    block = blocks_of(plan.buses[0].blocks)[1]
    assert (block["unit"], block["device"], block["gap_ns"], block["timeout_ns"], block["period_ns"]) == (
        9,
        1,
        77,
        123,
        5,
    )
    assert bytes(block["request"])[:8] == request_adu(9, 3, 2, 1, is_tcp=False)


def test_points_say_where_a_tag_stands_and_how_it_is_read(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    tags = [
        make_tag(Table.HOLDING, 14, ValueType.F32, order=Order.CDAB),
        make_tag(Table.HOLDING, 10, ValueType.TEXT, length=7),
        make_tag(Table.HOLDING, 16, ValueType.BITS, bits=4, shift=8),
    ]
    unchecked = dict.fromkeys(("scale_at", "flags", "reserved", "sentinel", "least", "most"), 0)
    assert points_of(compile_plan(make_config(make_device(tags))).buses[0].points) == [
        {"tag": 1, "at": 0, "length": 7, "type": 11, "order": 0, "bits": 0, "shift": 0, **unchecked},
        {"tag": 0, "at": 4, "length": 2, "type": 7, "order": 1, "bits": 0, "shift": 0, **unchecked},
        {"tag": 2, "at": 6, "length": 1, "type": 12, "order": 0, "bits": 4, "shift": 8, **unchecked},
    ]


def test_a_value_and_its_power_of_ten_are_read_in_one_request(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    tags = [make_tag(Table.HOLDING, 10, ValueType.I16, scale_address=30), make_tag(Table.HOLDING, 60)]
    device = make_device(tags, max_gap=0)
    plan = compile_plan(make_config(device))
    [(block, info), _] = zip(blocks_of(plan.buses[0].blocks), plan.buses[0].block_info, strict=True)
    assert (block["address"], block["quantity"], info.tags) == (10, 21, ("holding10",))
    point = points_of(plan.buses[0].points)[0]
    assert (point["at"], point["scale_at"], point["flags"]) == (0, 20, 16)
    assert [tag.type for tag in plan.tags] == [ValueType.F64, ValueType.U16]


def test_a_power_of_ten_in_front_of_its_value_moves_the_value_within_the_answer(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    device = make_device([make_tag(Table.HOLDING, 10, ValueType.U32, scale_address=4)])
    [point] = points_of(compile_plan(make_config(device)).buses[0].points)
    assert (point["at"], point["scale_at"]) == (6, 0)


def test_tags_are_numbered_as_configured_and_groups_as_the_blocks(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    first = make_device([make_tag(Table.INPUT, 500), make_tag(Table.HOLDING, 7), make_tag(Table.HOLDING, 6)])
    second = make_device([make_tag(Table.HOLDING, 1)], name="e", unit=2)
    two = make_config(first, second)
    other = make_config(first, name="c").buses[0]
    plan = compile_plan(Config(gateway=two.gateway, mqtt=None, store=two.store, buses=(*two.buses, other)))
    names = [
        "b/d/input500",
        "b/d/holding7",
        "b/d/holding6",
        "b/e/holding1",
        "c/d/input500",
        "c/d/holding7",
        "c/d/holding6",
    ]
    assert [(tag.number, tag.name) for tag in plan.tags] == list(enumerate(names))
    assert [(group.number, group.name, group.tags) for group in plan.groups] == [
        (0, "b/d", (2, 1)), (1, "b/d", (0,)), (2, "b/e", (3,)), (3, "c/d", (6, 5)), (4, "c/d", (4,)),
    ]  # fmt: skip
    in_blocks = [block["group"] for bus in plan.buses for block in blocks_of(bus.blocks)]
    assert in_blocks == [0, 1, 2, 3, 4]


def test_every_block_counts_its_own_points_and_all_tags_are_read_once(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    tags = [make_tag(Table.HOLDING, at * 37 % 400, every_ns=NS_PER_S * (1 + at % 3)) for at in range(90)]
    bus = compile_plan(make_config(make_device(tags))).buses[0]
    points = points_of(bus.points)
    at = 0
    for block, info in zip(blocks_of(bus.blocks), bus.block_info, strict=True):
        assert block["first_point"] == at
        assert block["point_count"] == len(info.tags)
        for point in points[at : at + block["point_count"]]:
            assert tags[point["tag"]].address == block["address"] + point["at"]
            assert point["at"] + point["length"] <= block["quantity"]
        at += block["point_count"]
    assert sorted(point["tag"] for point in points) == list(range(90))


def test_the_compiled_decoder_takes_every_block_and_gives_every_tag(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    tags = [make_tag(Table.HOLDING, 4 * at, type_, length=LENGTHS[type_]) for at, type_ in enumerate(LENGTHS)]
    tags += [make_tag(Table.HOLDING, 900, ValueType.BITS, bits=16), make_tag(Table.COIL, 7, ValueType.BOOL)]
    bus = compile_plan(make_config(make_device(tags))).buses[0]
    samples = Samples()
    for at, block in enumerate(blocks_of(bus.blocks)):
        packed = bus.blocks[at * BLOCK.size : (at + 1) * BLOCK.size]
        payload = bytes(data_bytes(bus.block_info[at].table, block["quantity"]))
        decode(packed, bus.points, payload, 0, samples)
    assert sorted(sample.tag for sample in records(samples)) == list(range(len(tags)))


def test_settings_of_a_tag_reach_the_stages_behind(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    settings = {
        "scale": 0.1,
        "offset": -3.0,
        "unit": "bar",
        "deadband": DeadbandKind.PERCENT,
        "deadband_value": 0.5,
        "heartbeat_ns": 9,
    }
    (found,) = compile_plan(
        make_config(make_device([make_tag(Table.HOLDING, 1, ValueType.I32, name="p", **settings)]))
    ).tags
    assert found._asdict() == {
        "number": 0, "name": "b/d/p", "type": ValueType.I32, **settings, "every_ns": NS_PER_S, "read_ns": NS_PER_S,
    }  # fmt: skip


def test_a_tag_that_rides_in_a_faster_read_says_so_and_counts_as_often_as_it_is_asked_for(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    tags = [make_tag(Table.HOLDING, 0), make_tag(Table.HOLDING, 1, every_ns=4 * NS_PER_S)]
    plan = compile_plan(make_config(make_device(tags)))
    assert [(tag.every_ns, tag.read_ns) for tag in plan.tags] == [(NS_PER_S, NS_PER_S), (4 * NS_PER_S, NS_PER_S)]
    assert len(plan.buses[0].block_info) == 1
    assert plan.buses[0].samples_per_s == 1.25


def test_what_was_learned_of_a_device_is_kept_to_in_its_plan_and_in_no_other(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    tags = [make_tag(Table.HOLDING, at) for at in range(10)]
    config = make_config(make_device(tags), make_device(tags, name="e", unit=2))
    plan = compile_plan(config, {DeviceKey("b", "e"): Learned(max_registers=5)})
    assert [(info.device, info.quantity) for info in plan.buses[0].block_info] == [("d", 10), ("e", 5), ("e", 5)]


def test_reads_that_are_packed_again_keep_tags_and_groups(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    config = make_config(make_device([make_tag(Table.HOLDING, at) for at in range(4)]))
    plan = compile_plan(config)
    (whole,) = plan.buses[0].reads[0]
    halves = [block_of(whole.period_ns, part) for part in (whole.wanted[:3], whole.wanted[3:])]
    again = pack(config.buses[0], [halves], plan.groups)
    assert [(block["address"], block["quantity"], block["group"]) for block in blocks_of(again.blocks)] == [
        (0, 3, 0), (3, 1, 0),
    ]  # fmt: skip
    assert [point["tag"] for point in points_of(again.points)] == [0, 1, 2, 3]
    assert pack(config.buses[0], plan.buses[0].reads, plan.groups) == plan.buses[0]


def test_blocks_of_one_period_are_spread_over_it(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    devices = [make_device([make_tag(Table.HOLDING, 1)], name=f"d{unit}", unit=unit) for unit in range(1, 5)]
    devices.append(
        make_device(
            [
                make_tag(Table.HOLDING, 1, every_ns=3600 * NS_PER_S),
                make_tag(Table.HOLDING, 900, every_ns=3600 * NS_PER_S),
            ],
            unit=9,
        )
    )
    phases = [block["phase_ns"] for block in blocks_of(compile_plan(make_config(*devices)).buses[0].blocks)]
    assert phases == [0, NS_PER_S // 4, NS_PER_S // 2, 3 * NS_PER_S // 4, 0, MAX_PHASE_NS // 2]


def test_utilisation_and_rates_follow_from_the_blocks(
    make_config: Callable[..., Config], make_device: Callable[..., Device], make_tag: Callable[..., Tag]
) -> None:
    bus = compile_plan(
        make_config(
            make_device(
                [
                    make_tag(Table.HOLDING, 0),
                    make_tag(Table.HOLDING, 1),
                    make_tag(Table.INPUT, 0, every_ns=NS_PER_S // 10),
                ]
            )
        )
    ).buses[0]
    slow, fast = bus.block_info
    assert bus.samples_per_s == 12
    assert bus.utilisation == pytest.approx(slow.transaction_ns / NS_PER_S + 10 * fast.transaction_ns / NS_PER_S)
    assert slow.wire_ns == (8 + 5 + 4) * (11 * NS_PER_S // 19200)


def test_a_bus_without_devices_has_an_empty_plan(make_config: Callable[..., Config]) -> None:
    bus = compile_plan(make_config()).buses[0]
    assert (bus.blocks, bus.points, bus.utilisation) == (b"", b"", 0)
