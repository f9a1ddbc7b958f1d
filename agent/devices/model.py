"""Device maps as typed values: what is known of one model beside its tags, and how it is recognised; pure."""

from typing import NamedTuple

from agent.config.model import Device, Table
from agent.config.registers import Form
from agent.model import Order


class Fingerprint(NamedTuple):
    """Registers that hold one of some values in every such device; where the map has a `start`, counted from 0."""

    table: Table
    address: int
    form: Form
    order: Order
    values: tuple[int | str, ...]


class DeviceId(NamedTuple):
    """What function 43/14 answers: the texts of the objects 0 and 1 begin like this."""

    vendor: str
    product: str


class ServerId(NamedTuple):
    """What function 17 answers: its data begin with these bytes."""

    begins: bytes


Identity = Fingerprint | DeviceId | ServerId


class Serial(NamedTuple):
    """How the device leaves the factory; None: not known."""

    baud: int | None = None
    parity: str | None = None
    stop_bits: int | None = None
    unit: int | None = None


class DeviceMap(NamedTuple):
    """One model, as its map has it."""

    title: str
    sources: tuple[str, ...]
    quirks: tuple[str, ...]
    identity: tuple[Identity, ...]  # each alone is enough
    serial: Serial
    device: Device
