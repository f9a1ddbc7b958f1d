"""A configuration in, the plan out: pre-encoded requests and where each tag stands in their answers; pure.

The packed arrays are those of _native/core/plan.h. Tags are numbered in the order of the configuration, groups in the
order of the blocks.
"""

import struct
from collections.abc import Container, Mapping, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple

from agent._native import codec
from agent.acquire.checks import flags_of, raw_range, text_order
from agent.acquire.limits import NOTHING, Learned, limits_of
from agent.acquire.merge import Block, Wanted, blocks_of
from agent.acquire.wire import RTU_ANSWER_BYTES, TCP_ANSWER_BYTES, Line, data_bytes, line_of
from agent.config.model import Bus, Config, Device, Table
from agent.config.model import Tag as TagSettings
from agent.model import NS_PER_S, Group, Tag, ValueType

BLOCK = struct.Struct("=qqqqIIIIHHBBHH21sB")  # ft_block
POINT = struct.Struct("=IHHBBBBHBBQdd")  # ft_point
APART, SEAM = 1, 2  # FT_APART, FT_SEAM
FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
MAX_PHASE_NS = 10 * NS_PER_S  # slow tags too have a first value soon after the start


class BlockInfo(NamedTuple):
    """What a block is, for people: `fieldtap check` prints it."""

    device: str
    unit: int
    table: Table
    address: int
    quantity: int
    used: int  # registers or bits of it that tags are made of; the others are read because that is cheaper
    period_ns: int
    tags: tuple[str, ...]  # in the order of their registers; those of another device of the unit as DEVICE/TAG
    samples_per_s: float  # each tag as often as it was asked for
    wire_ns: int  # its bytes alone
    transaction_ns: int  # with the usual turnaround and the silences

    @property
    def share(self) -> float:
        """Of the bus's time."""
        return self.transaction_ns / self.period_ns


class BusPlan(NamedTuple):
    """One bus: packed ft_block[] and ft_point[], the devices that ft_block.device counts: one for each unit."""

    name: str
    blocks: bytes
    points: bytes
    devices: tuple[str, ...]
    block_info: tuple[BlockInfo, ...]
    reads: tuple[tuple[Block, ...], ...]  # what is packed, by unit

    @property
    def utilisation(self) -> float:
        """Share of the bus's time that all its reads are expected to take; above 1 it cannot be done."""
        return sum(info.share for info in self.block_info)

    @property
    def samples_per_s(self) -> float:
        """How many samples it is asked for."""
        return sum(info.samples_per_s for info in self.block_info)


class Plan(NamedTuple):
    """What the buses execute and how its numbers are to be read."""

    tags: tuple[Tag, ...]
    groups: tuple[Group, ...]
    buses: tuple[BusPlan, ...]


class DeviceKey(NamedTuple):
    """A device among all."""

    bus: str
    device: str


def compile_plan(config: Config, learned: Mapping[DeviceKey, Learned] | None = None) -> Plan:
    """The plan of a whole configuration, within what was learned of its devices."""
    tags: list[Tag] = []
    groups: list[Group] = []
    buses: list[BusPlan] = []
    for bus in config.buses:
        wanted = _numbered(bus, len(tags))
        reads = [
            device_reads(
                bus, unit[0], _of(unit, wanted), (learned or {}).get(DeviceKey(bus.name, unit[0].name), NOTHING)
            )
            for unit in bus.units
        ]
        tags += _tags(bus, wanted, reads)
        of_bus = _groups(bus, reads, len(groups))
        groups += of_bus
        buses.append(pack(bus, reads, of_bus))
    return Plan(tuple(tags), tuple(groups), tuple(buses))


def device_reads(
    bus: Bus, device: Device, wanted: Sequence[Wanted], learned: Learned, riders: Container[int] | None = None
) -> list[Block]:
    """The reads of one unit within what was learned of it; `riders` as in merge.blocks_of."""
    cost_ns = partial(line_of(bus).transaction_ns, gap_ns=device.gap_ns)
    return blocks_of(limits_of(device, learned), wanted, cost_ns, riders)


def pack(bus: Bus, reads: Sequence[Sequence[Block]], groups: Sequence[Group]) -> BusPlan:
    """The reads of each unit of a bus as C executes them. A block is of the group where its first tag is at home."""
    line = line_of(bus)
    homes = {number: group.number for group in groups for number in group.tags}
    placed = [
        _Placed(block, unit[0], index, homes[block.wanted[0].number])
        for index, (unit, of_unit) in enumerate(zip(bus.units, reads, strict=True))
        for block in of_unit
    ]
    blocks, points = bytearray(), bytearray()
    for each, phase_ns in zip(placed, _phases_ns([each.block.period_ns for each in placed]), strict=True):
        blocks += _packed_block(bus, each, phase_ns, first_point=len(points) // POINT.size)
        points += b"".join(_packed_point(each.block, item) for item in each.block.wanted)
    names = tuple(unit[0].name for unit in bus.units)
    infos = tuple(_info(line, each) for each in placed)
    return BusPlan(bus.name, bytes(blocks), bytes(points), names, infos, tuple(map(tuple, reads)))


class _Placed(NamedTuple):
    """A block with what it belongs to."""

    block: Block
    device: Device  # that has the unit
    device_index: int
    group: int


def _numbered(bus: Bus, first: int) -> list[Wanted]:
    """The tags of all devices; numbers run on over them."""
    numbers = count(first)
    return [Wanted(next(numbers), tag, device.name) for device in bus.devices for tag in device.tags]


def _of(unit: Sequence[Device], wanted: Sequence[Wanted]) -> list[Wanted]:
    names = {device.name for device in unit}
    return [item for item in wanted if item.device in names]


def _tags(bus: Bus, wanted: list[Wanted], reads: list[list[Block]]) -> list[Tag]:
    read_ns = {item.number: block.period_ns for of_unit in reads for block in of_unit for item in block.wanted}
    return [_tag(item.number, f"{bus.name}/{item.device}", item.tag, read_ns[item.number]) for item in wanted]


def _tag(number: int, device_name: str, tag: TagSettings, read_ns: int) -> Tag:
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
        every_ns=tag.every_ns,
        read_ns=read_ns,
    )


def _groups(bus: Bus, reads: list[list[Block]], first: int) -> list[Group]:
    numbers = count(first)
    return [
        Group(next(numbers), f"{bus.name}/{unit[0].name}", tuple(item.number for item in block.wanted))
        for unit, of_unit in zip(bus.units, reads, strict=True)
        for block in of_unit
    ]


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
        APART * block.is_apart | SEAM * block.has_seam,
    )


def _packed_point(block: Block, item: Wanted) -> bytes:
    tag = item.tag
    return POINT.pack(
        item.number,
        tag.address - block.address,
        tag.length,
        tag.type,
        text_order(tag),
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
        unit=placed.device.unit,
        table=block.table,
        address=block.address,
        quantity=block.quantity,
        used=len({at for item in block.wanted for at in range(item.start, item.end)}),
        period_ns=block.period_ns,
        tags=tuple(_local_name(placed.device, item) for item in block.wanted),
        samples_per_s=sum(NS_PER_S / max(block.period_ns, item.tag.every_ns) for item in block.wanted),
        wire_ns=line.wire_ns(block.table, block.quantity),
        transaction_ns=line.transaction_ns(block.table, block.quantity, placed.device.gap_ns),
    )


def _local_name(device: Device, item: Wanted) -> str:
    return item.tag.name if item.device == device.name else f"{item.device}/{item.tag.name}"
