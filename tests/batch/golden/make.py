"""Cases in, golden files out: the bytes of version 1 and what they mean, written once (python make.py NAME ...).

What they mean is worked out here from the cases, without the decoder. A golden file is never made again: a change of
the format is a new version with new files.
"""

import hashlib
import json
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgpack

from agent._native.samples import Samples
from agent.batch import Encoder
from agent.model import Gap, Group, Quality, Tag, ValueType, WallClock

HERE = Path(__file__).parent
RECORD = struct.Struct("=qQIIHBBI")  # _native/core/sample.h
TEXT_LAST = 0x80000000
EPOCH = bytes.fromhex("9f3c5a7e01d2b846")
BOOT_US = 86_400_000_000  # the cases' samples were read a day after boot ...
WALL_US = 1_763_769_600_000_000  # ... at this instant
CLOCK = WallClock((WALL_US - BOOT_US) * 1000, 2, 4)
MAX_BYTES = 122_880
FORMATS = ("columns", "plain")
MASK = (1 << 64) - 1


class Cell(NamedTuple):
    """A sample: `raw` as an unsigned bit pattern of 64 bits, or bytes of text; `at_us` counts from WALL_US."""

    tag: int
    at_us: int
    raw: int | bytes = 0
    quality: Quality = Quality.GOOD
    code: int = 0


class Case(NamedTuple):
    """One batch."""

    name: str
    about: str
    tags: tuple[Tag, ...]
    groups: tuple[Group, ...]
    cells: tuple[Cell, ...]
    gaps: tuple[Gap, ...] = ()
    in_band: bool = False
    historical: bool = False


def f32(value: float) -> int:
    return int.from_bytes(struct.pack(">f", value), "big")


def f64(value: float) -> int:
    return int.from_bytes(struct.pack(">d", value), "big")


def gateway(*types: ValueType, device: str = "bus/dev", first: int = 0, unit: str = "") -> tuple[Tag, ...]:
    return tuple(Tag(first + i, f"{device}/{kind.name.lower()}{i}", kind, unit=unit) for i, kind in enumerate(types))


def rows(tags: Iterable[Tag], times_us: Iterable[int], values: Iterable[Iterable[int | bytes]]) -> tuple[Cell, ...]:
    return tuple(
        Cell(tag.number, at_us, raw if isinstance(raw, bytes) else raw & MASK)
        for at_us, row in zip(times_us, values, strict=True)
        for tag, raw in zip(tags, row, strict=True)
    )


def all_types() -> Case:
    tags = gateway(*ValueType, unit="x")
    values = [
        [1, 230, -5, 70000, -70000, 1 << 40, -(1 << 40), f32(3.25), f64(-2.5), 1234, 12345678, b"SN-0042", 5],
        [0, 231, 5, 70001, 0, (1 << 40) + 9, -1, f32(230.12), f64(0.1), 1235, 12345679, b"SN-0042", 4],
        [1, 65535, -32768, 0, 2**31 - 1, 0, 1, f32(1 / 3), f64(1 / 3), 0, 0, b"", 0],
    ]
    cells = rows(tags, (0, 1_000_017, 1_999_985), values)
    return Case("types", "every type, three rows", tags, (Group(0, "bus/dev", tuple(range(13))),), cells)


def extremes() -> Case:
    types = (ValueType.U64, ValueType.I64, ValueType.I32, ValueType.F32, ValueType.F64)
    tags = gateway(*types)
    values = [
        [0, 1 << 63, -(1 << 31), 0x7FC00000, 0x7FF8000000000000],
        [MASK, (1 << 63) - 1, (1 << 31) - 1, 0x7FA00001, 0x7FF4000000000001],
        [0, 1 << 63, 0, 0xFFC12345, 0xFFF8000000ABCDEF],
        [1 << 63, MASK, -1, f32(float("inf")), f64(float("-inf"))],
        [1, 0, 1, f32(-0.0), f64(-0.0)],
        [2, 1, 2, 1, 1],
    ]
    cells = rows(tags, range(0, 6_000_000, 1_000_000), values)
    return Case("extremes", "bit patterns nothing may change", tags, (Group(0, "bus/dev", (0, 1, 2, 3, 4)),), cells)


def qualities() -> Case:
    tags = gateway(ValueType.U16, ValueType.F32, ValueType.TEXT, ValueType.I16)
    cells = list(rows(tags, (0,), [[7, f32(1.5), b"ok", -7]]))
    cells += [Cell(tag.number, 1_000_000, 0, Quality.COMM_FAIL) for tag in tags]
    cells += [Cell(tag.number, 2_000_000, 0, Quality.EXCEPTION, 2) for tag in tags]
    cells += [Cell(0, 3_000_000, 8), Cell(2, 3_000_000, b"back"), Cell(3, 3_000_000, 0, Quality.OUT_OF_RANGE)]
    cells += [Cell(1, 4_000_000, f32(2.5), Quality.CLOCK_UNKNOWN), Cell(3, 4_000_000, 9, Quality.SUBSTITUTED)]
    cells += [Cell(0, 5_000_000, 0, Quality.STALE), Cell(0, 6_000_000, 0, Quality.EXCEPTION, 11)]
    about = "every quality, exception codes, and cells that are missing"
    return Case("qualities", about, tags, (Group(0, "bus/dev", (0, 1, 2, 3)),), tuple(cells))


def texts() -> Case:
    tags = gateway(ValueType.TEXT, ValueType.TEXT)
    values = [[b"", "Zähler 7".encode()], [b"exactly8", b"\xff\xfe raw \x00 bytes"], [b"a" * 40, b"\xc3"], [b"", b"x"]]
    cells = rows(tags, (0, 10, 20, 30), values)
    return Case("texts", "empty, UTF-8, not UTF-8, of many pieces", tags, (Group(0, "bus/dev", (0, 1)),), cells)


def twins() -> Case:
    shape = (ValueType.F32, ValueType.F32, ValueType.U32, ValueType.F64, ValueType.BOOL)
    tags = tuple(tag for n in range(3) for tag in gateway(*shape, device=f"bus/meter{n}", first=5 * n))
    groups = tuple(Group(n, f"bus/meter{n}", tuple(range(5 * n, 5 * n + 5))) for n in range(3))
    cells = []
    for row in range(4):
        for n in (0, 1, 2):
            full = 230.1 / (1 + row + n) + (0 if n == 1 else 1 / 3)  # the middle one's are decimals by chance
            raws = (f32(50 + row / 100 + n), f32(full), 1000 * n + row, f64(20.5 + n / (7 if row else 10)), n % 2)
            at_us = 1_000_000 * row + 20_000 * n + row * row
            cells += [Cell(5 * n + i, at_us, raw) for i, raw in enumerate(raws) if n < 2 or row != 2]
    return Case("twins", "equal devices whose first values predict each other's", tags, groups, tuple(cells))


def disorder() -> Case:
    tags = (*gateway(ValueType.U16, ValueType.I32), Tag(2, "virtual/total", ValueType.F64, unit="kW"))
    times = ((0, 5_000_000), (1, 5_000_000), (0, 3_000_000), (0, 3_000_000), (1, -2_000_000), (2, 1), (0, 9), (2, 1))
    cells = tuple(Cell(tag, at_us, f64(i / 4) if tag == 2 else i) for i, (tag, at_us) in enumerate(times))
    about = "out of time order, several samples of one instant, a tag of no group"
    return Case("disorder", about, tags, (Group(0, "bus/dev", (0, 1)),), cells)


def scaled() -> Case:
    types = (ValueType.U16, ValueType.I16, ValueType.F32, ValueType.U64, ValueType.F64)
    maps = ((0.1, 0.0), (0.01, -40.0), (1000.0, 0.0), (1.0, 1.0), (1e300, 0.0))
    tags = tuple(
        tag._replace(scale=scale, offset=offset, unit="°C")
        for tag, (scale, offset) in zip(gateway(*types), maps, strict=True)
    )
    cells = rows(tags, (0, 1), [[2301, -125, f32(1.1), MASK, f64(1e10)], [0, 0, f32(0.0), 0, f64(2.0)]])
    about = "value = raw * scale + offset, one of them beyond what JSON can say"
    return Case("scaled", about, tags, (Group(0, "bus/dev", (0, 1, 2, 3, 4)),), cells)


def carrier() -> Case:
    tags = gateway(ValueType.U16, unit="V")
    gaps = (Gap(bytes(range(8)), 17, 19, 360, "restart"), Gap(EPOCH, 5, 4, 12, "overrun"))
    cells = rows(tags, (0, 1_000_000), [[1], [2]])
    about = "schema in-band, gaps, the historical flag"
    return Case("carrier", about, tags, (Group(0, "bus/dev", (0,)),), cells, gaps, in_band=True, historical=True)


def silence() -> Case:
    tags = gateway(ValueType.U16)
    gaps = (Gap(EPOCH, 0, 3, 0, "evicted"),)
    return Case("silence", "a gap and no sample", tags, (Group(0, "bus/dev", (0,)),), (), gaps)


def noise() -> Case:
    tags = gateway(*[ValueType.F32] * 6, *[ValueType.F64] * 2)
    state, values = 12345, []
    for _ in range(20):
        row = []
        for tag in tags:
            state = (state * 6364136223846793005 + 1442695040888963407) & MASK
            share = (state >> 11) / (1 << 53)
            row.append(f32(230 + share) if tag.type == ValueType.F32 else f64(230 + share))
        values.append(row)
    cells = rows(tags, range(0, 20_000_000, 1_000_000), values)
    return Case(
        "noise", "full floats, so many that they are stored", tags, (Group(0, "bus/dev", tuple(range(8))),), cells
    )


def records(case: Case) -> Samples:
    """The case as the bus loop would hand it over."""
    group_of = {number: group.number for group in case.groups for number in group.tags}
    packed = []
    for cell in case.cells:
        kind, time_ns = case.tags[cell.tag].type, (BOOT_US + cell.at_us) * 1000
        group = group_of.get(cell.tag, 0)
        if isinstance(cell.raw, bytes):
            packed += _pieces(time_ns, cell, group)
        else:
            part = TEXT_LAST if kind == ValueType.TEXT else 0
            packed.append(RECORD.pack(time_ns, cell.raw, cell.tag, group, kind, cell.quality, cell.code, part))
    return Samples(b"".join(packed))


def _pieces(time_ns: int, cell: Cell, group: int) -> list[bytes]:
    chunks = [cell.raw[i : i + 8] for i in range(0, len(cell.raw), 8)] or [b""]
    return [
        RECORD.pack(
            time_ns,
            int.from_bytes(chunk.ljust(8, b"\0"), sys.byteorder),
            cell.tag,
            group,
            ValueType.TEXT,
            cell.quality,
            len(chunk),
            i | (TEXT_LAST if i == len(chunks) - 1 else 0),
        )
        for i, chunk in enumerate(chunks)
    ]


def lines(case: Case) -> list[dict[str, object]]:
    """What a decoder prints, tag by tag, each tag's samples in the order they were read."""
    return [_line(case, cell) for cell in sorted(case.cells, key=lambda cell: case.tags[cell.tag].name)]


def _line(case: Case, cell: Cell) -> dict[str, object]:
    tag = case.tags[cell.tag]
    line: dict[str, object] = {"gateway": "gw", "tag": tag.name, "t": (WALL_US + cell.at_us) / 1e6, "v": None}
    line |= {"q": cell.quality.label, "unit": tag.unit, "seq": 7, "epoch": EPOCH.hex()}
    if cell.quality == Quality.EXCEPTION:
        line["code"] = cell.code
    if case.historical:
        line["historical"] = True
    return line | (_value(tag, cell.raw) if cell.quality.has_value else {})


def _value(tag: Tag, raw: int | bytes) -> dict[str, object]:
    if isinstance(raw, bytes):
        try:
            return {"v": raw.decode()}
        except UnicodeDecodeError:
            return {"v": raw.decode("latin-1"), "bits": raw.hex()}
    digits = 8 if tag.type == ValueType.F32 else 16
    v: int | float = raw
    if tag.type in (ValueType.F32, ValueType.F64):
        v = struct.unpack(">f" if digits == 8 else ">d", bytes.fromhex(f"{raw:0{digits}x}"))[0]
    elif tag.type in (ValueType.I16, ValueType.I32, ValueType.I64) and raw >> 63:
        v = raw - (1 << 64)
    if (tag.scale, tag.offset) != (1.0, 0.0):
        v = float(v) * tag.scale + tag.offset
    return {"v": v} if abs(v) < float("inf") else {"v": None, "bits": f"{raw:0{digits}x}"}


def encode(case: Case, form: str) -> tuple[list[bytes], bytes]:
    """Schema messages and the data message of a case."""
    encoder = Encoder("gw", EPOCH, case.tags, case.groups, form, MAX_BYTES)
    (message,) = encoder.encode(
        records(case), first_seq=7, clock=CLOCK, with_schemas=case.in_band, gaps=case.gaps, historical=case.historical
    )
    return [] if case.in_band else list(encoder.schemas().values()), message.payload


def golden(case: Case, form: str) -> dict[str, object]:
    schemas, data = encode(case, form)
    if case.name == "future":
        schemas, data = [], extended(data, schemas)
    return {
        "about": f"{case.about}; {form}",
        "schemas": [schema.hex() for schema in schemas],
        "data": data.hex(),
        "gaps": [[gap.epoch.hex(), *gap[1:]] for gap in case.gaps],
        "lines": lines(case),
    }


def extended(data: bytes, schemas: list[bytes]) -> bytes:
    """The message as a later version may write it: every array that may grow has grown."""
    message = msgpack.unpackb(data)
    body = msgpack.unpackb(zlib.decompress(message[7])) if message[6] else message[7]
    wider = [_wider_schema(msgpack.unpackb(schema)) for schema in schemas]
    padding = [None] * (8 - len(body))
    body = [*body[:8], *padding, [[EPOCH, 1, 2, 3, "damaged", "new"]], wider, ["new", None, 1.5]]
    body[3] = b"".join(hashlib.sha256(schema).digest()[:8] for schema in wider)
    body[4] = [[*group, ["new"]] if isinstance(group, list) else group for group in body[4]]
    message[5] += ["new"]
    message[7] = zlib.compress(msgpack.packb(body)) if message[6] else body
    return msgpack.packb([*message, "new"], use_single_float=True)


def _wider_schema(schema: list[object]) -> bytes:
    version, tables = schema
    wider = [[name, [[*column, "new"] for column in columns], "new"] for name, columns in tables]
    return msgpack.packb([version, wider, "new"])


def future() -> Case:
    return qualities()._replace(
        name="future", about="all arrays longer than version 1 makes them", gaps=(Gap(EPOCH, 1, 2, 3, "damaged"),)
    )


CASES = (all_types, extremes, qualities, texts, twins, disorder, scaled, carrier, silence, noise, future)


def main(names: list[str]) -> None:
    for case in (make() for make in CASES):
        for form in FORMATS:
            if case.name in names:
                (HERE / f"{case.name}.{form}.json").write_text(to_json(golden(case, form)), encoding="utf-8")


def to_json(content: dict[str, object]) -> str:
    """A member a line, and a sample a line."""
    rows_of = {key: value if isinstance(value, list) else None for key, value in content.items()}
    members = [
        f"{json.dumps(key)}: "
        + (json.dumps(value, ensure_ascii=False) if rows_of[key] is None else _rows(rows_of[key]))
        for key, value in content.items()
    ]
    return "{\n " + ",\n ".join(members) + "\n}\n"


def _rows(items: list[object]) -> str:
    if not items:
        return "[]"
    return "[\n  " + ",\n  ".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n ]"


if __name__ == "__main__":
    main(sys.argv[1:])
