"""What the statistics of a bus point to: one case for each thing that an engineer would look at."""

from typing import Any

import pytest

from agent.acquire.advice import advise
from agent.acquire.kernel import Note
from agent.acquire.latency import TIMER
from agent.acquire.statistics import Asked, BusStats, Counts, DeviceStats, Mishap, Spans
from agent.config.model import Bus

NOTHING = Counts(*[0] * len(Counts._fields))
SERIAL = Bus(name="rs485", port="/dev/ttyUSB0", timeout_ns=300_000_000, devices=())
TCP = Bus(name="plc", port="tcp://10.0.0.7", protocol="modbus-tcp", timeout_ns=10**9, devices=())
TIMER_SET = str(Note(TIMER, True, "1 ms"))
TIMER_REFUSED = str(Note(TIMER, False, "stays at 16 (Permission denied)"))


def device(unit: int, turnaround_ms: float = 5.12, *, is_suspect: bool = False, **counted: int) -> DeviceStats:
    counts = NOTHING._replace(**counted)
    took = Spans(counts.ok, turnaround_ms, turnaround_ms, turnaround_ms, ()) if counts.ok else None
    last = Mishap(0.0, "exception 2: it has no such register", Asked(unit, 3, 0, 1), "") if counts.exceptions else None
    return DeviceStats(unit, counts, took, took, last, is_suspect)


def bus(*devices: DeviceStats, notes: tuple[str, ...] = (), finding: str = "", **counted: int) -> BusStats:
    named = {f"meter{each.unit}": each for each in devices}
    total = NOTHING._replace(**{k: sum(getattr(d.counts, k) for d in devices) for k in Counts._fields})
    return BusStats(total._replace(**counted), 0, 0.5, "open", "", named, notes=notes, finding=finding)


GOOD = {"transactions": 1000, "ok": 1000}
BAD = {"transactions": 1000, "ok": 600, "crc_errors": 400}
DEAD = {"transactions": 60, "timeouts": 60}
CASES: dict[str, tuple[Bus, BusStats, list[str]]] = {
    "a good bus": (SERIAL, bus(device(1, **GOOD), device(2, **GOOD), bytes_heard=9000, noise_bytes=5), []),
    "one device's wiring": (
        SERIAL,
        bus(device(1, **GOOD), device(2, **GOOD), device(3, **BAD)),
        ["40 % of the polls of meter3 are answered with CRC errors, the others' are not: its own wiring"],
    ),
    "one device alone": (
        SERIAL,
        bus(device(3, **BAD), finding="2 of 9 characters are malformed"),
        ["40 % of the polls of meter3 are answered with CRC errors: 2 of 9 characters are malformed"],
    ),
    "the whole line": (
        SERIAL,
        bus(device(1, **BAD), device(2, **BAD)),
        ["answers of every device come damaged (40 % to 40 %): the line as a whole: termination"],
    ),
    "wrong unit number": (
        SERIAL,
        bus(device(1, **GOOD), device(2, is_suspect=True, **DEAD)),
        ["meter2 has never answered, others do: its power, its own wiring, or its unit number (2)"],
    ),
    "wrong baud rate of one": (
        SERIAL,
        bus(device(1, **GOOD), device(2, noise_bytes=400, **DEAD), bytes_heard=20_000),
        ["meter2 has never answered as it should, others do; 400 bytes came instead: it uses another baud rate"],
    ),
    "dead on a line that babbles": (
        SERIAL,
        bus(
            device(1, noise_bytes=900, busy_ns=9_000_000_000, **GOOD),
            device(2, is_suspect=True, noise_bytes=40, busy_ns=300_000_000, **DEAD),
            bytes_heard=20_000,
        ),
        ["meter2 has never answered, others do: its power, its own wiring, or its unit number (2)"],
    ),
    "wrong baud rate of one, a glitch at another": (
        SERIAL,
        bus(
            device(1, noise_bytes=20, busy_ns=9_000_000_000, **GOOD),
            device(2, noise_bytes=400, busy_ns=300_000_000, **DEAD),
            bytes_heard=20_000,
        ),
        ["meter2 has never answered as it should, others do; 400 bytes came instead: it uses another baud rate"],
    ),
    "fallen silent": (
        SERIAL,
        bus(device(1, **GOOD), device(2, is_suspect=True, transactions=90, ok=80, timeouts=10)),
        ["meter2 has answered 80 times and now is silent"],
    ),
    "nobody, and nothing": (
        SERIAL,
        bus(device(1, **DEAD), device(7, **DEAD)),
        ["no device has ever answered, and not a byte came: power, wiring (A and B), the port, or the unit numbers"],
    ),
    "wrong baud rate of all": (
        SERIAL,
        bus(device(1, **DEAD), bytes_heard=500),
        ["no device has ever answered, but 500 bytes came: another baud rate or parity than 19200 baud 8E1"],
    ),
    "nobody yet": (SERIAL, bus(device(1, transactions=1), device(2)), []),
    "another master on TCP": (
        TCP,
        bus(device(1, **DEAD)),
        ["no device has ever answered, and not a byte came: another"],
    ),
    "no Modbus TCP": (
        TCP,
        bus(device(1, **DEAD), bytes_heard=70),
        ["no device has ever answered, but 70 bytes came: it is"],
    ),
    "the wrong map": (
        TCP,
        bus(device(1, transactions=100, ok=20, exceptions=80)),
        ["meter1 refuses 80 % of its polls (the last time: exception 2: it has no such register)"],
    ),
    "timeout too short": (
        SERIAL,
        bus(device(1, transactions=100, ok=90, timeouts=10, stale_discarded=9), device(2, **GOOD)),
        ["meter1 has answered 9 times when it was no longer awaited: timeout_ms = 300 is too short for it"],
    ),
    "lost requests": (
        TCP,
        bus(device(1, transactions=100, ok=90, timeouts=10)),
        ["10 % of the polls of meter1 get no answer, not even late"],
    ),
    "latency timer": (
        SERIAL,
        bus(device(1, 16.384, **GOOD), device(2, 20.48, **GOOD), notes=(TIMER_REFUSED,)),
        ["every device takes 16.384 to 20.48 ms to answer: the latency timer of a USB adapter"],
    ),
    "latency timer that is set": (
        SERIAL,
        bus(device(1, 16.384, **GOOD), device(2, 20.48, **GOOD), notes=(TIMER_SET,)),
        [],
    ),
    "one slow device": (SERIAL, bus(device(1, 16.384, **GOOD), device(2, 3.0, **GOOD)), []),
    "too much is asked for": (
        SERIAL,
        bus(device(1, overruns=500, **GOOD)),
        ["33.3 % of the polls were skipped: their period was over before the bus was free: `fieldtap check`"],
    ),
    "collisions": (
        SERIAL,
        bus(device(1, collisions=40, **GOOD)),
        ["the echo of 40 requests differs from what was sent: somebody else sends, too"],
    ),
    "somebody else talks": (
        SERIAL,
        bus(device(1, **GOOD), bytes_heard=10_000, noise_bytes=3_000),
        ["3000 of 10000 bytes were in no answer, while answers are intact: another master"],
    ),
    "too few to tell": (SERIAL, bus(device(1, transactions=20, ok=10, crc_errors=10)), []),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_point_to(name: str) -> None:
    settings, stats, expected = CASES[name]
    said = advise(settings, stats)
    assert len(said) == len(expected), said
    assert all(sentence.startswith(begin) for sentence, begin in zip(said, expected, strict=True)), said


def test_a_port_that_never_opened_says_why_itself() -> None:
    never: Any = bus(device(1), device(2))._replace(port="failed", error="/dev/ttyUSB0: no such file")
    assert advise(SERIAL, never) == ()
