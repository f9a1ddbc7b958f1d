"""What devices have taught in, a small file that outlives the agent out: `learned.json` in the store's directory.

A device is remembered by its model (a device without a map: by its own name), its firmware, and what is asked of it;
when one of these changes, it is learned anew. A file that is damaged, or of a version that is not known, is reported
and counts as empty: what it held is learned again.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from agent.acquire.limits import NOTHING, Learned, Seam, either
from agent.acquire.plan import DeviceKey
from agent.config.model import MAX_BITS, MAX_REGISTERS, Bus, Device, Hole, Table
from agent.config.registers import ADDRESSES
from agent.config.sunspec import fits

NAME = "learned.json"
VERSION = 1
MAX_BYTES = 1 << 20  # a file of ours is a few KiB; nothing that is larger is read
MAX_DEVICES = 1000  # the ones that were remembered first are forgotten first

_Kind = tuple[str, str, str]  # model, firmware, and a hash of what is asked

log = logging.getLogger(__name__)


class _Span(msgspec.Struct, frozen=True):
    table: Table
    first: Annotated[int, msgspec.Meta(ge=0, lt=ADDRESSES)]
    last: Annotated[int, msgspec.Meta(ge=0, lt=ADDRESSES)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of device, as it stands in the file."""

    model: str
    firmware: str
    asked: str  # hash of the registers that are asked for, and within which limits
    max_registers: Annotated[int, msgspec.Meta(ge=1, le=MAX_REGISTERS)] = MAX_REGISTERS
    max_bits: Annotated[int, msgspec.Meta(ge=1, le=MAX_BITS)] = MAX_BITS
    holes: tuple[_Span, ...] = ()
    seams: tuple[_Span, ...] = ()  # first and last are the two that cannot be read at once
    missing: tuple[_Span, ...] = ()
    strict: bool = False

    @property
    def key(self) -> _Kind:
        """What it is looked up by."""
        return self.model, self.firmware, self.asked


class _Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device whose SunSpec model was found. Devices of one map differ in it, so it goes by the device's name."""

    bus: str
    device: str
    sunspec: Annotated[int, msgspec.Meta(ge=1, lt=ADDRESSES)]
    start: Annotated[int, msgspec.Meta(ge=0, lt=ADDRESSES)]


class _File(msgspec.Struct, frozen=True):
    version: int
    devices: tuple[_Entry, ...]
    places: tuple[_Place, ...] = ()


EMPTY = _File(VERSION, ())


class Memory:
    """The file in `directory`; nothing is written before something has been learned."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / NAME
        file = self._read()
        self._entries = {entry.key: entry for entry in file.devices}
        self._places = {DeviceKey(place.bus, place.device): place for place in file.places}

    def recall(self, buses: Sequence[Bus]) -> dict[DeviceKey, Learned]:
        """What is known of the devices of these buses."""
        return {
            DeviceKey(bus.name, unit[0].name): _learned(self._entries[key])
            for bus in buses
            for unit in bus.units
            if (key := _key(bus, unit)) in self._entries
        }

    def places(self, buses: Sequence[Bus]) -> dict[DeviceKey, int]:
        """Where the SunSpec models of these buses' devices were found."""
        return {
            key: place.start
            for bus in buses
            for device in bus.devices
            if (place := self._places.get(key := DeviceKey(bus.name, device.name)))
            and place.sunspec == device.sunspec
            and fits(device, place.start)
        }

    def remember_places(self, buses: Sequence[Bus], starts: Mapping[DeviceKey, int]) -> None:
        """Keep where models are; of one that is not there any more, what was known is forgotten."""
        before = dict(self._places)
        for bus in buses:
            for device in bus.devices:
                key = DeviceKey(bus.name, device.name)
                self._places.pop(key, None)
                if device.sunspec and key in starts:
                    self._places[key] = _Place(*key, device.sunspec, starts[key])
        while len(self._places) > MAX_DEVICES:
            del self._places[next(iter(self._places))]
        if self._places != before:
            self._write()

    def remember(self, buses: Sequence[Bus], known: Mapping[DeviceKey, Learned]) -> None:
        """Keep what is known now. A disk that does not take it is reported, not raised: the agent goes on as well."""
        before = dict(self._entries)
        for key, learned in _by_kind(buses, known).items():
            self._keep(key, learned)
        if self._entries != before:
            self._write()

    def _keep(self, key: _Kind, learned: Learned) -> None:
        if learned == NOTHING:
            self._entries.pop(key, None)
        else:
            self._entries[key] = _entry(key, learned)
        while len(self._entries) > MAX_DEVICES:
            del self._entries[next(iter(self._entries))]

    def _read(self) -> _File:
        try:
            with self._path.open("rb") as file:
                return _decoded(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return EMPTY
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            log.warning("%s: cannot be used, devices are learned anew: %s", self._path, error)
            return EMPTY

    def _write(self) -> None:
        try:
            self._replace(_File(VERSION, tuple(self._entries.values()), tuple(self._places.values())))
        except OSError as error:
            log.warning("%s: what was learned of the devices is lost at the next start: %s", self._path, error.strerror)

    def _replace(self, document: _File) -> None:
        """Whole or not at all, also when power goes."""
        content = msgspec.json.format(msgspec.json.encode(document), indent=1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(content + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _decoded(content: bytes) -> _File:
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    document = msgspec.json.decode(content, type=_File)
    if document.version != VERSION:
        raise ValueError(f"version {document.version}; this fieldtap knows {VERSION}")
    return document


def _key(bus: Bus, unit: Sequence[Device]) -> _Kind:
    tags = (tag for device in unit for tag in device.tags)
    asked = sorted(f"{tag.table}:{tag.address}+{tag.length}{tag.type.name}{tag.merge}" for tag in tags)
    head = unit[0]
    limits = (head.max_registers, head.max_bits, head.max_gap, *head.holes)
    digest = hashlib.blake2b(repr((asked, limits)).encode(), digest_size=8).hexdigest()
    models = " + ".join(device.model for device in unit if device.model)
    return models or f"{bus.name}/{head.name}", head.firmware, digest


def _by_kind(buses: Sequence[Bus], known: Mapping[DeviceKey, Learned]) -> dict[_Kind, Learned]:
    """One device of a kind may have taught what the next one, which is silent just now, has not."""
    kinds: dict[_Kind, Learned] = {}
    for bus in buses:
        for unit in bus.units:
            key = _key(bus, unit)
            kinds[key] = either(kinds.get(key, NOTHING), known.get(DeviceKey(bus.name, unit[0].name), NOTHING))
    return kinds


def _entry(key: _Kind, learned: Learned) -> _Entry:
    model, firmware, asked = key
    return _Entry(
        model=model,
        firmware=firmware,
        asked=asked,
        max_registers=learned.max_registers,
        max_bits=learned.max_bits,
        holes=_spans(learned.holes),
        seams=_spans(Hole(seam.table, seam.address - 1, seam.address) for seam in learned.seams),
        missing=_spans(learned.missing),
        strict=learned.strict,
    )


def _spans(holes: Iterable[Hole]) -> tuple[_Span, ...]:
    return tuple(_Span(*hole) for hole in sorted(holes))


def _learned(entry: _Entry) -> Learned:
    return Learned(
        max_registers=entry.max_registers,
        max_bits=entry.max_bits,
        holes=frozenset(Hole(span.table, span.first, span.last) for span in entry.holes),
        seams=frozenset(Seam(span.table, span.last) for span in entry.seams),
        missing=frozenset(Hole(span.table, span.first, span.last) for span in entry.missing),
        strict=entry.strict,
    )
