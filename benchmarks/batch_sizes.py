"""Samples of three meters in, bytes and nanoseconds per sample of several formats out.

The samples: three power meters on one busbar, 40 registers each, read once a second, poll times with 0.15 ms of
jitter. Per meter 18 floats with a full mantissa (voltages, currents, powers: slow random walks with the noise of the
measurement on top), 7 floats that the meter rounds (0.01 Hz, 0.001 power factor, 0.1 % distortion, 0.1 °C, 0.01 kW)
and 15 integers (3 energy counters of 0.1 kWh, operating hours, 7 states and constants, 4 measured values). The meters
share the grid: voltages and frequency agree within their errors; loads are their own. Nothing is chosen to compress.

Every format gets the same samples and carries the same facts: which tag, when, what value. Times are the least of
ROUNDS interleaved rounds; a batch is encoded whole, compression included.
"""

import argparse
import json
import math
import random
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from agent._native.samples import Samples
from agent.batch import Encoder
from agent.batch.record import RECORD
from agent.model import Group, Tag, ValueType, WallClock

METERS = 3
SECONDS = 600
ROUNDS = 7
START_US = 1_763_769_600_000_000
POLL_US = 60_000  # one meter after the other
JITTER_US = 150
BATCHES_S = (1, 10, 60)
GATEWAY = "plant7-line3"
EPOCH = bytes.fromhex("9f3c5a7e01d2b846")
CLOCK = WallClock(0, 2, 4)
FULL = [
    f"{name}_l{phase}" for name in ("voltage", "line_voltage", "current", "power", "var", "va") for phase in (1, 2, 3)
]
ROUNDED = ["frequency", "power_factor", "thd_voltage", "thd_current", "temperature", "board_temperature", "demand"]
INTEGERS = {
    "import": ValueType.U32,
    "export": ValueType.U32,
    "reactive": ValueType.U32,
    "hours": ValueType.U32,
    "status": ValueType.BITS,
    "alarm": ValueType.U16,
    "tariff": ValueType.U16,
    "relay": ValueType.BOOL,
    "error": ValueType.U16,
    "ct_ratio": ValueType.U16,
    "starts": ValueType.U16,
    "mean_voltage": ValueType.U16,
    "mean_current": ValueType.U16,
    "total_power": ValueType.I32,
    "heat_sink": ValueType.I16,
}
TYPES = [ValueType.F32] * (len(FULL) + len(ROUNDED)) + list(INTEGERS.values())
NAMES = [*FULL, *ROUNDED, *INTEGERS]
PER_METER = len(NAMES)


class Poll(NamedTuple):
    """One meter's answer."""

    meter: int
    t_us: int
    values: list[float | int]


class Grid:
    """What the meters have in common."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.volts = [230 + rng.uniform(-3, 3) for _ in range(3)]
        self.hertz, self.distortion = 50.0, 2.1

    def step(self) -> None:
        self.volts = [v + (230 - v) * 0.02 + self.rng.gauss(0, 0.08) for v in self.volts]
        self.hertz += (50 - self.hertz) * 0.05 + self.rng.gauss(0, 0.004)
        self.distortion = max(0.3, self.distortion + self.rng.gauss(0, 0.02))


class Meter:
    """One meter: its load, its errors, its counters."""

    def __init__(self, grid: Grid, rng: random.Random) -> None:
        self.grid, self.rng = grid, rng
        self.gains = [1 + rng.gauss(0, 0.001) for _ in range(3)]
        self.loads = [rng.uniform(5, 40) for _ in range(3)]
        self.amps = list(self.loads)
        self.factors = [rng.uniform(0.85, 0.98) for _ in range(3)]
        self.temperatures = [rng.uniform(20, 40) for _ in range(2)]
        self.energy = [rng.uniform(1e4, 1e6), rng.uniform(1e2, 1e4), rng.uniform(1e4, 1e6)]
        self.hours, self.distortion, self.status = rng.uniform(1e3, 5e4), 11.0, 0x23
        self.ratio, self.starts = rng.choice([100, 200, 400]), rng.randrange(3000)

    def read(self) -> list[float | int]:
        self._step()
        rng = self.rng
        volts = [v * gain + rng.gauss(0, 0.03) for v, gain in zip(self.grid.volts, self.gains, strict=True)]
        lines = [(volts[i] + volts[(i + 1) % 3]) * 0.866 + rng.gauss(0, 0.03) for i in range(3)]
        amps = [a * (1 + rng.gauss(0, 0.001)) for a in self.amps]
        apparent = [v * a for v, a in zip(volts, amps, strict=True)]
        power = [s * factor for s, factor in zip(apparent, self.factors, strict=True)]
        reactive = [math.sqrt(s * s - p * p) for s, p in zip(apparent, power, strict=True)]
        self._count(sum(power), sum(reactive))
        full = [float32(x) for x in (*volts, *lines, *amps, *power, *reactive, *apparent)]
        rounded = [round(self.grid.hertz, 2), round(sum(power) / sum(apparent), 3), round(self.grid.distortion, 1)]
        rounded += [round(self.distortion, 1), *(round(t, 1) for t in self.temperatures), round(sum(power) / 1000, 2)]
        return [*full, *(float32(x) for x in rounded), *self._integers(volts, amps, sum(power))]

    def _step(self) -> None:
        rng = self.rng
        for i in range(3):
            self.amps[i] += (self.loads[i] - self.amps[i]) * 0.05 + rng.gauss(0, 0.01 * self.loads[i])
            if rng.random() < 0.01:
                self.loads[i] = rng.uniform(5, 40)
            self.factors[i] = min(0.999, max(0.7, self.factors[i] + rng.gauss(0, 0.001)))
        self.distortion = max(0.0, self.distortion + rng.gauss(0, 0.1))
        self.temperatures = [t + rng.gauss(0, 0.02) for t in self.temperatures]

    def _count(self, power: float, reactive: float) -> None:
        self.energy = [self.energy[0] + power / 3.6e5, self.energy[1] + 0.001, self.energy[2] + reactive / 3.6e5]
        self.hours += 1 / 3600
        if self.rng.random() < 0.005:
            self.status ^= 1 << self.rng.randrange(8)

    def _integers(self, volts: Sequence[float], amps: Sequence[float], power: float) -> list[int]:
        counters = [*(int(e) for e in self.energy), int(self.hours)]
        states = [self.status, 0, 1, 1, 0, self.ratio, self.starts]
        measured = [round(sum(volts) / 0.3), round(sum(amps) / 0.03), round(power), round(self.temperatures[0] * 10)]
        return counters + states + measured


def polls(seed: int) -> Iterator[Poll]:
    rng = random.Random(seed)
    grid = Grid(rng)
    meters = [Meter(grid, random.Random(seed * 100 + i)) for i in range(METERS)]
    for second in range(SECONDS):
        grid.step()
        for number, meter in enumerate(meters):
            t_us = START_US + second * 1_000_000 + number * POLL_US + int(abs(rng.gauss(0, JITTER_US)))
            yield Poll(number, t_us, meter.read())


def float32(x: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", x))[0])


def tag_name(meter: int, place: int) -> str:
    return f"rs485/meter{meter}/{NAMES[place]}"


def fieldtap(form: str) -> Callable[[list[Poll]], Callable[[], bytes]]:
    tags = [Tag(m * PER_METER + i, tag_name(m, i), TYPES[i]) for m in range(METERS) for i in range(PER_METER)]
    groups = [Group(m, f"rs485/meter{m}", tuple(range(m * PER_METER, (m + 1) * PER_METER))) for m in range(METERS)]
    encoder = Encoder(GATEWAY, EPOCH, tags, groups, form, 1 << 20)

    def prepare(batch: list[Poll]) -> Callable[[], bytes]:
        samples = Samples(b"".join(record(poll, place) for poll in batch for place in range(PER_METER)))
        return lambda: encoder.encode(samples, first_seq=812, clock=CLOCK, with_schemas=False)[0].payload

    return prepare


def record(poll: Poll, place: int) -> bytes:
    kind, value = TYPES[place], poll.values[place]
    raw = struct.unpack("<I", struct.pack("<f", value))[0] if kind == ValueType.F32 else int(value) & (1 << 64) - 1
    return RECORD.pack(poll.t_us * 1000, raw, poll.meter * PER_METER + place, poll.meter, kind, 0, 0, 0)


def by_function(encode: Callable[[list[Poll]], bytes]) -> Callable[[list[Poll]], Callable[[], bytes]]:
    return lambda batch: lambda: encode(batch)


def json_per_sample(batch: list[Poll]) -> bytes:
    """One message a sample; put one after the other."""
    return b"".join(
        json.dumps({"name": tag_name(poll.meter, i), "timestamp": poll.t_us, "value": value}).encode()
        for poll in batch
        for i, value in enumerate(poll.values)
    )


def thingsboard(batch: list[Poll]) -> bytes:
    """Its gateway API, one object a poll."""
    devices: dict[str, list[object]] = {}
    for poll in batch:
        values = dict(zip(NAMES, poll.values, strict=True))
        devices.setdefault(f"meter{poll.meter}", []).append({"ts": poll.t_us // 1000, "values": values})
    return json.dumps(devices, separators=(",", ":")).encode()


def msgpack_rows(batch: list[Poll]) -> bytes:
    rows = [[poll.meter * PER_METER + i, poll.t_us, value] for poll in batch for i, value in enumerate(poll.values)]
    return bytes(msgpack.packb(rows, use_single_float=True))


def sparkplug_class() -> type:
    """The part of Sparkplug B's Payload that data by alias needs, with its field numbers."""
    field = descriptor_pb2.FieldDescriptorProto
    metric = [("alias", 2, field.TYPE_UINT64), ("timestamp", 3, field.TYPE_UINT64), ("datatype", 4, field.TYPE_UINT32)]
    metric += [("int_value", 10, field.TYPE_UINT32), ("long_value", 11, field.TYPE_UINT64)]
    metric += [("float_value", 12, field.TYPE_FLOAT), ("boolean_value", 14, field.TYPE_BOOL)]
    payload = [("timestamp", 1, field.TYPE_UINT64), ("metrics", 2, field.TYPE_MESSAGE), ("seq", 3, field.TYPE_UINT64)]
    fields = {"Metric": metric, "Payload": payload}
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug", syntax="proto2")
    for name, members in fields.items():
        made = file.message_type.add(name=name)
        for member, number, kind in members:
            repeated = kind == field.TYPE_MESSAGE
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            type_name = ".sparkplug.Metric" if repeated else None
            made.field.add(name=member, number=number, type=kind, label=label, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))


PAYLOAD = sparkplug_class()
MEMBERS = {ValueType.F32: "float_value", ValueType.BOOL: "boolean_value"}


def sparkplug(batch: list[Poll]) -> bytes:
    """NDATA by alias, the metrics of all polls in one payload."""
    payload = PAYLOAD(timestamp=batch[-1].t_us // 1000, seq=12)
    for poll in batch:
        for i, value in enumerate(poll.values):
            metric = payload.metrics.add(alias=poll.meter * PER_METER + i, timestamp=poll.t_us // 1000)
            member = MEMBERS.get(TYPES[i], "int_value")
            setattr(metric, member, value if member == "float_value" else int(value) & 0xFFFFFFFF)
    return bytes(payload.SerializeToString())


def zipped(encode: Callable[[list[Poll]], bytes]) -> Callable[[list[Poll]], bytes]:
    return lambda batch: zlib.compress(encode(batch))


FORMATS = {
    "fieldtap columns": fieldtap("columns"),
    "fieldtap plain": fieldtap("plain"),
    "msgpack rows": by_function(msgpack_rows),
    "msgpack rows + zlib": by_function(zipped(msgpack_rows)),
    "Sparkplug B": by_function(sparkplug),
    "Sparkplug B + zlib": by_function(zipped(sparkplug)),
    "ThingsBoard JSON": by_function(thingsboard),
    "ThingsBoard JSON + zlib": by_function(zipped(thingsboard)),
    "JSON per sample": by_function(json_per_sample),
}


def measure(batch_s: int, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Bytes and nanoseconds per sample of every format."""
    batches = [batch for seed in seeds for batch in cut(list(polls(seed)), batch_s * METERS)]
    count = sum(len(poll.values) for batch in batches for poll in batch)
    prepared = {name: [prepare(batch) for batch in batches] for name, prepare in FORMATS.items()}
    sizes = {name: sum(len(encode()) for encode in encoders) for name, encoders in prepared.items()}
    least = dict.fromkeys(FORMATS, math.inf)
    for _ in range(ROUNDS):
        for name, encoders in prepared.items():
            least[name] = min(least[name], timed(encoders))
    return {name: {"bytes": sizes[name] / count, "ns": least[name] / count} for name in FORMATS}


def cut(everything: list[Poll], size: int) -> list[list[Poll]]:
    return [everything[i : i + size] for i in range(0, len(everything), size)]


def timed(encoders: Sequence[Callable[[], bytes]]) -> int:
    start = time.perf_counter_ns()
    for encode in encoders:
        encode()
    return time.perf_counter_ns() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes and encoding time per sample of batch formats.")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--seeds", type=int, default=3, help="how many different plants are averaged")
    parser.add_argument("--quick", action="store_true", help="one plant: does it work at all")
    args = parser.parse_args()
    seeds = range(1, 1 + (1 if args.quick else args.seeds))
    results = {batch_s: measure(batch_s, seeds) for batch_s in BATCHES_S}
    if args.json:
        print(json.dumps(results))
        return
    print(f"{METERS} meters x {PER_METER} registers at 1 Hz; bytes per sample / ns per sample to encode")
    print(f"{'':24}" + "".join(f"{f'{batch_s} s batches':>20}" for batch_s in BATCHES_S))
    for name in FORMATS:
        cells = [f"{results[batch_s][name]['bytes']:.2f} / {results[batch_s][name]['ns']:.0f}" for batch_s in BATCHES_S]
        print(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
