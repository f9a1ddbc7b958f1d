"""The configuration as typed, checked values: what TOML becomes and every stage reads."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from agent.model import DeadbandKind, Order, ValueType

MIB = 1024 * 1024
MAX_REGISTERS = 125  # Modbus Application Protocol V1.1b3, 6.3: the most one read answers
MAX_BITS = 2000  # the same, 6.1


class Table(StrEnum):
    """The four Modbus tables, as they are written in `register = "holding:100"`."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """`[gateway]`."""

    id: str
    loop_priority: int = 0  # of SCHED_FIFO, for the thread that serves the buses; 0: like every other thread
    loop_cpu: int | None = None  # the only one that thread runs on


class Secret(str):
    """A password as text that does not show in logs: its repr is stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Mqtt(msgspec.Struct, frozen=True, kw_only=True):
    """`[mqtt]`, secrets already read (None after a mere check), file names relative to the working directory."""

    url: str  # mqtt:// mqtts:// ws:// wss://
    endpoint: str = "generic"
    username: str | None = None
    password: Secret | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    alpn: str | None = None
    server_name: str | None = None
    topic: str = "fieldtap/{gateway}/{kind}"
    format: str = "columns"
    batch_s: float = 10.0
    max_message_bytes: int = 122_880


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """`[store]`."""

    path: str = "/var/lib/fieldtap"
    journal_bytes: int = 64 * MIB
    spool_bytes: int = 512 * MIB
    loss_window_s: float = 2.0
    when_full: str = "thin"


class Hole(NamedTuple):
    """Registers or bits that a device does not have, first and last."""

    table: Table
    first: int
    last: int


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """`write = { .. }` of a tag: what may be written, in the tag's `unit`."""

    min: float
    max: float
    step: float = 0.0  # whole multiples of it from `min` on; 0: any value
    rate_ns: int = 0  # at most one write in so long
    function: int = 0  # Modbus function code; 0: the usual one


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """`[[bus.device.tag]]`; times in nanoseconds, the register as table and 0-based address."""

    name: str
    table: Table
    address: int
    type: ValueType
    length: int = 1  # registers; TEXT: bytes of text
    bits: int = 0  # BITS: how many ...
    shift: int = 0  # ... from which bit
    is_wide: bool = False  # TEXT: one character to a register
    order: Order = Order.ABCD
    scale: float = 1.0
    offset: float = 0.0
    scale_address: int | None = None  # of the register that holds the power of ten, in the same table
    sentinel: int | None = None  # these bits of its registers, in order, say that there is no value ...
    sentinel_empty: bool = False  # ... and so do NaN, and text of zeros alone
    plausible: tuple[float, float] | None = None  # least and most, in `unit`
    unit: str = ""
    moves: bool = False  # it counts from its device's SunSpec model, which is looked for
    every_ns: int
    merge: bool = True  # False: read alone, and nothing else is read through it
    deadband: DeadbandKind = DeadbandKind.NONE
    deadband_value: float = 0.0
    heartbeat_ns: int = 0
    write: Write | None = None  # None: read-only


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """`[[bus.device]]`, its device map already merged in."""

    name: str
    unit: int
    part_of: str = ""  # name of the device that has this unit, too, and its counters; empty: this one
    model: str = ""  # name or path of its device map
    sunspec: int = 0  # number of the SunSpec model that is looked for; 0: none, or it is said where it stands
    start: int = 0  # where the registers of its map begin; of a model that is looked for: where it was last seen
    firmware: str = ""  # as its owner calls it: what was learned of another one is not believed
    gap_ns: int = 0  # silence it wants before a request
    max_registers: int = MAX_REGISTERS  # most it answers at once
    max_bits: int = MAX_BITS  # the same of coils and discrete inputs
    max_gap: int = MAX_BITS  # most registers or bits nobody asked for that a request may read through
    holes: tuple[Hole, ...] = ()  # what no request may read through
    functions: tuple[int, ...] = ()  # function codes it has; none: not known
    tags: tuple[Tag, ...]


MODBUS_TCP_PORT = 502  # where a tcp:// port names none


class Bus(msgspec.Struct, frozen=True, kw_only=True):
    """`[[bus]]`."""

    name: str
    port: str
    protocol: str = "modbus-rtu"
    mode: str = "master"
    baud: int = 19200
    parity: str = "E"
    stop_bits: int = 1
    data_bits: int = 8
    rs485: str = "auto"
    mark_errors: str = "auto"
    in_flight: int = 1  # requests that may be under way at once on a Modbus TCP link
    timeout_ns: int
    switch_ns: int = 0  # silence before a request to another device than the last one
    ca: str | None = None  # tls://: files relative to the working directory, as in Mqtt
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    gap: str = "t3.5"  # "learned": less before requests to devices that go along
    devices: tuple[Device, ...]

    @property
    def units(self) -> tuple[tuple[Device, ...], ...]:
        """The devices by unit, those that are parts of another one behind it. All of a unit have the same limits."""
        heads = [device for device in self.devices if not device.part_of]
        return tuple((head, *(part for part in self.devices if part.part_of == head.name)) for head in heads)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole, valid configuration."""

    gateway: Gateway
    mqtt: Mqtt | None
    store: Store
    buses: tuple[Bus, ...]
    warnings: tuple[str, ...] = ()  # FILE:LINE:COL: message
