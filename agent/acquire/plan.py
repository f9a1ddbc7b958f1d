"""A configuration in, the plan out: pre-encoded requests and where each tag stands in their answers; pure.

The packed arrays are those of _native/core/plan.h. Tags are numbered in the order of the configuration, groups in the
order of the blocks.
"""

import struct
from functools import partial
from typing import NamedTuple

from agent._native import codec
from agent.acquire.checks import TEXT_WIDE, flags_of, raw_range
from agent.acquire.merge import Block, Wanted, blocks_of
from agent.acquire.wire import RTU_ANSWER_BYTES, TCP_ANSWER_BYTES, Line, data_bytes, line_of
from agent.config.model import Bus, Config, Device, Table
from agent.config.model import Tag as TagSettings
from agent.model import NS_PER_S, Group, Tag, ValueType

BLOCK = struct.Struct("=qqqqIIIIHHBBHH22s")  # ft_block
POINT = struct.Struct("=IHHBBBBHBBQdd")  # ft_point
FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
MAX_PHASE_NS = 10 * NS_PER_S  # slow tags too have a first value soon after the start


class BlockInfo(NamedTuple):
    """What a block is, for people: `fieldtap check` prints it."""

    device: str
    table: Table
    address: int
    quantity: int
    period_ns: int
    tags: int
    wire_ns: int  # its bytes alone
    transaction_ns: int  # with the usual turnaround and the silences


class BusPlan(NamedTuple):
    """One bus: packed ft_block[] and ft_point[], the devices that ft_block.device counts."""

    name: str
    blocks: bytes
    points: bytes
    devices: tuple[str, ...]
    block_info: tuple[BlockInfo, ...]

    @property
    def utilisation(self) -> float:
        """Share of the bus's time that all its reads are expected to take; above 1 it cannot be done."""
        return sum(info.transaction_ns / info.period_ns for info in self.block_info)

    @property
    def samples_per_s(self) -> float:
        """How many samples it reads."""
        return sum(info.tags * NS_PER_S / info.period_ns for info in self.block_info)


class Plan(NamedTuple):
    """What the buses execute and how its numbers are to be read."""

    tags: tuple[Tag, ...]
    groups: tuple[Group, ...]
    buses: tuple[BusPlan, ...]


class _Placed(NamedTuple):
    """A block with what it belongs to."""

    block: Block
    device: Device
    device_index: int
    group: int


def compile_plan(config: Config) -> Plan:
    """The plan of a whole configuration."""
    tags: list[Tag] = []
    groups: list[Group] = []
    buses: list[BusPlan] = []
    for bus in config.buses:
        placed = _placed(bus, len(groups), tags)
        groups += [_group(bus, each) for each in placed]
        buses.append(_bus_plan(bus, placed))
    return Plan(tuple(tags), tuple(groups), tuple(buses))


def _placed(bus: Bus, first_group: int, tags: list[Tag]) -> list[_Placed]:
    """The blocks of a bus; its tags are appended to `tags`."""
    line = line_of(bus)
    placed: list[_Placed] = []
    for index, device in enumerate(bus.devices):
        wanted = [Wanted(len(tags) + at, tag) for at, tag in enumerate(device.tags)]
        tags += [_tag(item.number, f"{bus.name}/{device.name}", item.tag) for item in wanted]
        blocks = blocks_of(device, wanted, partial(line.transaction_ns, gap_ns=device.gap_ns))
        placed += [_Placed(block, device, index, first_group + len(placed) + at) for at, block in enumerate(blocks)]
    return placed


def _tag(number: int, device_name: str, tag: TagSettings) -> Tag:
    return Tag(
        number=number,
        name=f"{device_name}/{tag.name}",
        type=tag.type if tag.scale_address is None else ValueType.F64,
        scale=tag.scale,
        offset=tag.offset,
        unit=tag.unit,
        deadband=tag.deadband,
        deadband_value=tag.deadband_value,
        heartbeat_ns=tag.heartbeat_ns,
    )


def _group(bus: Bus, placed: _Placed) -> Group:
    numbers = tuple(item.number for item in placed.block.wanted)
    return Group(placed.group, f"{bus.name}/{placed.device.name}", numbers)


def _bus_plan(bus: Bus, placed: list[_Placed]) -> BusPlan:
    line = line_of(bus)
    phases = _phases_ns([each.block.period_ns for each in placed])
    blocks, points = bytearray(), bytearray()
    for each, phase_ns in zip(placed, phases, strict=True):
        blocks += _packed_block(bus, each, phase_ns, first_point=len(points) // POINT.size)
        points += b"".join(_packed_point(each.block, item) for item in each.block.wanted)
    names = tuple(device.name for device in bus.devices)
    return BusPlan(bus.name, bytes(blocks), bytes(points), names, tuple(_info(line, each) for each in placed))


def _phases_ns(periods_ns: list[int]) -> list[int]:
    """First polls of the blocks of one period spread evenly over that period."""
    seen: dict[int, int] = {}
    phases = []
    for period_ns in periods_ns:
        index = seen[period_ns] = seen.get(period_ns, -1) + 1
        phases.append(min(period_ns, MAX_PHASE_NS) * index // periods_ns.count(period_ns))
    return phases


def _packed_block(bus: Bus, placed: _Placed, phase_ns: int, first_point: int) -> bytes:
    block, device = placed.block, placed.device
    is_tcp = bus.protocol == "modbus-tcp"
    function = FUNCTIONS[block.table]
    request = request_adu(device.unit, function, block.address, block.quantity, is_tcp=is_tcp)
    answer_bytes = (TCP_ANSWER_BYTES if is_tcp else RTU_ANSWER_BYTES) + data_bytes(block.table, block.quantity)
    return BLOCK.pack(
        block.period_ns,
        phase_ns,
        bus.timeout_ns,
        device.gap_ns,
        placed.group,
        placed.device_index,
        first_point,
        len(block.wanted),
        len(request),
        answer_bytes,
        device.unit,
        function,
        block.address,
        block.quantity,
        request,
    )


def _packed_point(block: Block, item: Wanted) -> bytes:
    tag = item.tag
    return POINT.pack(
        item.number,
        tag.address - block.address,
        tag.length,
        tag.type,
        tag.order | (TEXT_WIDE if tag.is_wide else 0),
        tag.bits,
        tag.shift,
        0 if tag.scale_address is None else tag.scale_address - block.address,
        flags_of(tag),
        0,
        tag.sentinel or 0,
        *raw_range(tag),
    )


def request_adu(unit: int, function: int, address: int, quantity: int, *, is_tcp: bool) -> bytes:
    """A read request as it goes over the wire; the bus loop sets the transaction number of TCP."""
    return codec.frame(codec.TCP if is_tcp else codec.RTU, 0, unit, struct.pack(">BHH", function, address, quantity))


def _info(line: Line, placed: _Placed) -> BlockInfo:
    block = placed.block
    return BlockInfo(
        device=placed.device.name,
        table=block.table,
        address=block.address,
        quantity=block.quantity,
        period_ns=block.period_ns,
        tags=len(block.wanted),
        wire_ns=line.wire_ns(block.table, block.quantity),
        transaction_ns=line.transaction_ns(block.table, block.quantity, placed.device.gap_ns),
    )
