"""fieldtap batches to JSON lines: python decode.py FILE... (data and schema payloads). Needs msgpack from PyPI."""

import hashlib
import json
import struct
import sys
import zlib
from itertools import accumulate, islice
from pathlib import Path

import msgpack

QUALITIES = ("good", "stale", "comm-fail", "exception", "out-of-range", "clock-unknown", "substituted")
SIGNED, TEXT, HAS_VALUE = (2, 4, 6), 11, (0, 5, 6)  # types, the others being unsigned integers; qualities
FLOATS, WIDTH, U64 = {7: "<f", 8: "<d"}, {7: 4, 8: 8}, (1 << 64) - 1


class Columns:
    def __init__(self, floats, doubles, *streams):
        self.heads, self.steps, self.text = (iter(stream or b"") for stream in streams)
        self.planes, self.firsts = {}, {}
        for kind, data in ((7, floats or b""), (8, doubles or b"")):
            count = len(data) // WIDTH[kind]
            whole = [int.from_bytes(data[i::count], "little") for i in range(count)]
            self.planes[kind] = iter([v >> 1 ^ -(v & 1) for v in whole])

    def varint(self, stream):
        v = shift = 0
        while (byte := next(stream)) > 127:
            v, shift = v | (byte & 127) << shift, shift + 7
        v |= byte << shift
        return v >> 1 ^ -(v & 1)

    def open(self, columns, rows):
        self.types, count = tuple(column[1] for column in columns), sum(column[1] in FLOATS for column in columns)
        self.modes = iter([mode for byte in islice(self.heads, (count + 1) // 2) for mode in (byte & 15, byte >> 4)])
        return [self.varint(self.heads) for _ in range(rows)]

    def read(self, place, count):
        kind, slot, values = self.types[place], (self.types, place), []
        if kind == TEXT:
            return [bytes(islice(self.text, self.varint(self.steps))) for _ in range(count)]
        mode = next(self.modes) if kind in FLOATS else 0
        patterns, before = kind in FLOATS and mode == 0, self.firsts.get(slot, (None, 0))
        v = before[1] if before[0] == mode else self.firsts.get(kind, 0) if patterns else 0
        for i in range(count):
            v = v + (next(self.planes[kind]) if patterns else self.varint(self.steps if i else self.heads)) & U64
            values.append(v)
        self.firsts.update({slot: (mode, values[0]), kind if patterns else None: values[0]} if values else {})
        return [(v - (v >> 63 << 64)) / 10 ** (mode - 1) for v in values] if mode else values


def value(column, raw):
    _, kind, scale, offset, _ = column[:5]
    if kind == TEXT:
        text = raw.decode("utf-8", "ignore")
        return {"v": text} if text.encode() == raw else {"v": raw.decode("latin-1"), "bits": raw.hex()}
    little = struct.pack(FLOATS[kind], raw) if isinstance(raw, float) else (raw & U64).to_bytes(8, "little")
    little = little[: WIDTH.get(kind, 8)]
    integer = int.from_bytes(little, "little", signed=kind in SIGNED)
    v = struct.unpack(FLOATS[kind], little)[0] if kind in FLOATS else integer
    v = v if (scale, offset) == (1, 0) else float(v) * scale + offset
    return {"v": v} if abs(v) < float("inf") else {"v": None, "bits": little[::-1].hex()}


def samples(message, schemas):
    _, gateway, epoch, seq, flags, _, codec, body = message[:8]
    body = (msgpack.unpackb(zlib.decompress(body)) if codec else body) + [None] * 10
    floats, doubles, base, hashes, groups, *streams, _, carried = body[:10]
    schemas.update((hashlib.sha256(schema).digest()[:8], schema) for schema in carried or ())
    tables = [t for i in range(0, len(hashes), 8) for t in msgpack.unpackb(schemas[hashes[i : i + 8]])[1]]
    common = {"gateway": gateway, "seq": seq, "epoch": epoch.hex()} | ({"historical": True} if flags & 1 else {})
    reader, number = Columns(floats, doubles, *streams), -1
    for group in groups:  # a bare number: that many rows of the next group, whole and good
        number, rows, there, runs, *own = group if isinstance(group, list) else (number + 1, group, None, None)
        columns, width, raw = tables[number][1], len(tables[number][1]), {}
        own = [] if streams[0] else own  # the plain format's times and columns
        steps = accumulate(own[0] if own else reader.open(columns, rows))
        times = list(accumulate(steps, initial=base * 1_000_000))  # before the first row, then of every row
        cells = [i for i in range(rows * width) if there is None or there[i // 8] >> i % 8 & 1]
        runs = runs or [0, 0, len(cells)]
        verdicts = [v for i in range(0, len(runs), 3) for v in [(runs[i], runs[i + 1])] * runs[i + 2]]
        for place, column in enumerate(columns):
            mine = [i for i, (q, _) in zip(cells, verdicts, strict=True) if i % width == place and q in HAS_VALUE]
            kind, values = column[1], own[1][place] if own else reader.read(place, len(mine))
            if isinstance(values, bytes):  # bit patterns, because one of them is NaN
                values = [int.from_bytes(values[i:][: WIDTH[kind]], "big") for i in range(0, len(values), WIDTH[kind])]
            values = accumulate(values) if own and kind not in FLOATS and kind != TEXT else values
            raw.update((i, value(column, v)) for i, v in zip(mine, values, strict=True))
        for i, (q, detail) in zip(cells, verdicts, strict=True):
            tag, _, _, _, unit = columns[i % width][:5]
            line = common | {"tag": tag, "t": times[1 + i // width] / 1e6, "v": None, "q": QUALITIES[q], "unit": unit}
            yield line | ({"code": detail} if q == 3 else {}) | raw.get(i, {})


payloads = [(msgpack.unpackb(data), data) for data in (Path(name).read_bytes() for name in sys.argv[1:])]
known = {hashlib.sha256(data).digest()[:8]: data for message, data in payloads if isinstance(message[1], list)}
for message in (message for message, _ in payloads if isinstance(message[1], str)):
    sys.stdout.writelines(json.dumps(line) + "\n" for line in samples(message, known))
