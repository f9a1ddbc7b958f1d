"""What a device says of itself in, the device maps that fit it, the best first, with their reasons, out; pure."""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agent._native import codec
from agent.config.model import Table
from agent.config.registers import registers_of
from agent.devices.model import DeviceId, DeviceMap, Fingerprint, Identity, ServerId
from agent.model import ValueType

VENDOR, PRODUCT = 0, 1  # objects of a device identification: Modbus Application Protocol V1.1b3, 6.21
TEXT_WIDE = 4  # FT_TEXT_WIDE
MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
FLOATS = {ValueType.F32: ">f", ValueType.F64: ">d"}


class Place(NamedTuple):
    """Registers in which some map looks for a value that tells the model."""

    table: Table
    address: int
    registers: int


class Traits(NamedTuple):
    """What is known of a device that it may be recognised by."""

    objects: Mapping[int, bytes] = {}  # of its identification (function 43/14)
    server_id: bytes = b""  # function 17
    registers: Mapping[Place, bytes] = {}  # as they go over the wire


class Fit(NamedTuple):
    """A map that the device may have."""

    name: str
    title: str
    reasons: tuple[str, ...]
    weight: int  # bytes that agree: more of them are less likely to be chance


def place_of(fingerprint: Fingerprint) -> Place:
    """Where the fingerprint is."""
    return Place(fingerprint.table, fingerprint.address, registers_of(fingerprint.form))


def places(maps: Iterable[DeviceMap]) -> list[Place]:
    """All registers that are worth reading to tell these maps from one another, each once."""
    prints = (identity for one in maps for identity in one.identity if isinstance(identity, Fingerprint))
    return sorted({place_of(fingerprint) for fingerprint in prints})


def fits(maps: Mapping[str, DeviceMap], traits: Traits) -> list[Fit]:
    """The maps of which one identity at least is that of the device."""
    found = []
    for name, one in maps.items():
        reasons = [reason for identity in one.identity if (reason := _reason(identity, traits))]
        if reasons:
            words = tuple(words for words, _ in reasons)
            found.append(Fit(name, one.title, words, max(weight for _, weight in reasons)))
    return sorted(found, key=lambda fit: (-fit.weight, fit.name))


def on_wire(fingerprint: Fingerprint, value: int | str) -> tuple[bytes, ...]:
    """How its registers may hold this value, the usual way first."""
    kind, length, *_, is_wide = fingerprint.form
    if kind is ValueType.TEXT:
        order = fingerprint.order | (TEXT_WIDE if is_wide else 0)
        text = str(value).encode()[:length]
        return tuple(codec.encode_text(order, text.ljust(length, padding)) for padding in (b"\0", b" "))
    raw = int(value) & MASK_64
    if kind in FLOATS:
        raw = int.from_bytes(struct.pack(FLOATS[kind], float(value)), "big")
    if kind is ValueType.BITS:
        kind, raw = ValueType.U16, raw << fingerprint.form.shift
    return (codec.encode_value(kind, fingerprint.order, raw),)


def _reason(identity: Identity, traits: Traits) -> tuple[str, int] | None:
    """Why this identity is that of the device, and how many bytes say so; None: it is not."""
    if isinstance(identity, Fingerprint):
        return _of_registers(identity, traits)
    if isinstance(identity, ServerId):
        is_there = traits.server_id.startswith(identity.begins)
        return (f"its server id begins with {identity.begins.hex(' ')}", len(identity.begins)) if is_there else None
    return _of_objects(identity, traits)


def _of_objects(identity: DeviceId, traits: Traits) -> tuple[str, int] | None:
    wanted = {VENDOR: identity.vendor.encode(), PRODUCT: identity.product.encode()}
    if not all(traits.objects.get(number, b"").startswith(text) for number, text in wanted.items()):
        return None
    return f"it says that it is {identity.vendor} {identity.product}", sum(map(len, wanted.values()))


def _of_registers(fingerprint: Fingerprint, traits: Traits) -> tuple[str, int] | None:
    held = traits.registers.get(place_of(fingerprint))
    if held is None:
        return None
    for value in fingerprint.values:
        if _visible(fingerprint, held) in on_wire(fingerprint, value):
            return f"{fingerprint.table}:{fingerprint.address} holds {_shown(value)}", len(held)
    return None


def _visible(fingerprint: Fingerprint, held: bytes) -> bytes:
    """Without the bits that tell something else."""
    if fingerprint.form.type is not ValueType.BITS:
        return held
    mask = codec.encode_value(
        ValueType.U16, fingerprint.order, (1 << fingerprint.form.bits) - 1 << fingerprint.form.shift
    )
    return bytes(byte & bits for byte, bits in zip(held, mask, strict=True))


def _shown(value: int | str) -> str:
    if isinstance(value, str):
        return repr(value)
    return str(value) if abs(value) <= 0xFFFF else hex(value)
