"""Devices and their maps in; what the simulated ones say of themselves, and registers that tell the model, out."""

import struct
from collections.abc import Iterator, Mapping, Sequence

from agent.config import files
from agent.config.model import Bus, Device
from agent.config.registers import registers_of
from agent.config.report import Report
from agent.devices.catalogue import read_device_map
from agent.devices.model import DeviceId, DeviceMap, Fingerprint, ServerId
from agent.devices.recognise import on_wire
from agent.simulate.signal import TABLES

MAX_TEXT = 244  # FT_PLATE_TEXT
SERVER_ID, IDENTIFICATION = 17, 43
MAKER, MODEL, REVISION = "fieldtap", "simulator", "1"
RUNNING = b"\xff"

Maps = Mapping[str, DeviceMap]


def maps_of(buses: Sequence[Bus]) -> dict[str, DeviceMap]:
    """The shipped maps that the devices of these buses have, by name; a map of one's own tells no model."""
    shipped = files.shipped_maps()
    wanted = {device.model for bus in buses for device in bus.devices} & shipped.keys()
    found = {name: read_device_map(shipped[name], Report()) for name in wanted}
    return {name: one for name, one in found.items() if one is not None}


def nameplates(devices: Sequence[Device], maps: Maps) -> bytes:
    """As _native/core/nameplate.h packs them. A device without a shipped map says that it is simulated, no more."""
    known: dict[int, list[Device]] = {}
    for device in devices:
        if device.model in maps:
            known.setdefault(device.unit, []).append(device)
    entries = [(unit, *entry) for unit, together in sorted(known.items()) for entry in _entries(together, maps)]
    return b"".join(struct.pack("=4B", *head, len(text)) + text for *head, text in entries)


def presets(devices: Sequence[Device], maps: Maps) -> Iterator[tuple[int, int, int, int]]:
    """(unit, table, address, value) of registers by which a model is recognised, where no tag has them."""
    taken = {
        (device.unit, tag.table, tag.address + at)
        for device in devices
        for tag in device.tags
        for at in range(registers_of(tag))
    }
    for device in devices:
        for fingerprint in _fingerprints(device, maps):
            held = on_wire(fingerprint, fingerprint.values[0])[0]
            words = list(enumerate(struct.unpack(f">{len(held) // 2}H", held), fingerprint.address))
            if taken.isdisjoint((device.unit, fingerprint.table, address) for address, _ in words):
                for address, word in words:
                    yield device.unit, TABLES.index(fingerprint.table), address, word


def _fingerprints(device: Device, maps: Maps) -> list[Fingerprint]:
    known = maps[device.model].identity if device.model in maps else ()
    return [identity for identity in known if isinstance(identity, Fingerprint)]


def _entries(together: Sequence[Device], maps: Maps) -> Iterator[tuple[int, int, bytes]]:
    """(function, object, text), in order: the first device of the unit speaks, for what all are known by."""
    device, one = together[0], maps[together[0].model]
    identity = [identity for each in together for identity in maps[each.model].identity]
    begins = [each.begins for each in identity if isinstance(each, ServerId)]
    ids = [each for each in identity if isinstance(each, DeviceId)]
    maker, model = ids[0] if ids else (MAKER, MODEL)
    yield SERVER_ID, 0, begins[0] if begins else MAKER.encode() + RUNNING
    texts = {0: maker, 1: model, 2: device.firmware or REVISION, 4: one.title, 5: device.model, 6: device.name}
    for number, text in texts.items():
        yield IDENTIFICATION, number, text.encode()[:MAX_TEXT]
