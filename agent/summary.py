"""Counters of every stage in, the summary document of `run --summary` and `demo --json` out."""

import resource
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.acquire.events import Event
from agent.acquire.statistics import BusStats, DeviceStats, Mishap, Spans
from agent.clock import wall_clock
from agent.model import NS_PER_S
from agent.store import StoreStats
from agent.uplink import UplinkStats

PAGE_BYTES = resource.getpagesize()


class Counts(msgspec.Struct):
    """What the agent's loop itself counts, since the start."""

    samples_read: int = 0
    samples_kept: int = 0
    batches: int = 0
    gaps: int = 0  # told to the receiver


def document(
    elapsed_ns: int,
    counts: Counts,
    buses: Mapping[str, BusStats],
    events: Iterable[Event],
    store: StoreStats,
    uplink: UplinkStats | None,
) -> dict[str, Any]:
    """The summary document; docs/STATISTICS.md says what each key means."""
    offset_ns = wall_clock().offset_ns
    return {
        "duration_s": round(elapsed_ns / NS_PER_S, 3),
        "buses": {name: _bus(stats) for name, stats in buses.items()},
        "events": [_event(event, offset_ns) for event in events],
        "samples_read": counts.samples_read,
        "samples_kept": counts.samples_kept,
        "batches": counts.batches,
        "bytes_sent": uplink.bytes_sent if uplink else 0,
        "messages_sent": uplink.messages_sent if uplink else 0,
        "messages_acked": uplink.messages_acked if uplink else 0,
        "store": {
            "bytes_written": store.bytes_written,
            "pending_batches": store.pending_batches,
            "evicted": store.evicted,
            "lost_samples": store.lost_samples,
            "restored": store.restored,
        },
        "gaps": counts.gaps,
        "rss_bytes": resident_bytes(),
        "cpu_s": round(cpu_s(), 4),
    }


def resident_bytes() -> int:
    """Memory of this process that is in RAM now, in bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def cpu_s() -> float:
    """Processor time this process has used, user and system, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def as_json(document: dict[str, Any]) -> str:
    """One line of JSON."""
    return msgspec.json.encode(document).decode()


def _bus(stats: BusStats) -> dict[str, Any]:
    wire = stats.wire_utilisation
    return {
        **_outcomes(stats),
        "utilisation": round(stats.utilisation, 4),
        "wire_utilisation": None if wire is None else round(wire, 6),
        "lateness_ms": _spans(stats.lateness),
        "silence_ms": stats.silence_ms,
        "state": stats.port,
        "error": stats.error,
        "port": list(stats.notes),
        "line": _line(stats),
        "finding": stats.finding,
        "suspects": [name for name, device in stats.devices.items() if device.is_suspect],
        "advice": list(stats.advice),
        "devices": {name: _device(device) for name, device in stats.devices.items()},
    }


def _outcomes(stats: BusStats | DeviceStats) -> dict[str, int]:
    counts = stats.counts
    return {
        "transactions": counts.transactions,
        "ok": counts.ok,
        "timeouts": counts.timeouts,
        "crc_errors": counts.crc_errors,
        "exceptions": counts.exceptions,
        "stale_discarded": counts.stale_discarded,
        "ambiguous": counts.ambiguous,
        "barriers": counts.barriers,
        "probes": counts.probes,
        "skipped": counts.overruns,
        "collisions": counts.collisions,
        "noise_bytes": counts.noise_bytes,
    }


def _line(stats: BusStats) -> dict[str, Any]:
    counts = stats.counts
    came = counts.answers + counts.crc_errors
    heard, marked, breaks = stats.marks
    return {
        "clean": round(counts.answers / came, 6) if came else None,
        "bytes_sent": counts.bytes_sent,
        "bytes_heard": counts.bytes_heard,
        "uart": stats.uart._asdict() if stats.uart else None,
        "marks": {"heard": heard, "marked": marked, "breaks": breaks} if heard else None,
    }


def _device(stats: DeviceStats) -> dict[str, Any]:
    return {
        "unit": stats.unit,
        **_outcomes(stats),
        "busy_s": round(stats.counts.busy_ns / NS_PER_S, 6),
        "round_trip_ms": _spans(stats.round_trips),
        "turnaround_ms": _spans(stats.turnarounds),
        "learned_silence_ms": stats.silences.kept if stats.silences else None,
        "refused_silence_ms": stats.silences.refused if stats.silences else None,
        "last_error": _mishap(stats.mishap) if stats.mishap else None,
    }


def _mishap(mishap: Mishap) -> dict[str, Any]:
    return mishap._asdict() | {"asked": mishap.asked._asdict()}


def _event(event: Event, offset_ns: int) -> dict[str, Any]:
    at = round((event.time_ns + offset_ns) / NS_PER_S, 6)
    return {"t": at, "kind": event.kind.value, "bus": event.bus, "device": event.device, "words": event.words}


def _spans(spans: Spans | None) -> dict[str, Any] | None:
    return spans._asdict() if spans else None
