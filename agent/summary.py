"""Counters of every stage in, the summary document of `run --summary` and `demo --json` out."""

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.acquire.bus import BusStats, DeviceStats
from agent.acquire.statistics import Spans
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
    elapsed_ns: int, counts: Counts, buses: Mapping[str, BusStats], store: StoreStats, uplink: UplinkStats | None
) -> dict[str, Any]:
    """The summary document as the contract names its parts."""
    return {
        "duration_s": round(elapsed_ns / NS_PER_S, 3),
        "buses": {name: _bus(stats) for name, stats in buses.items()},
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
    counts = stats.counts
    return {
        "transactions": counts.transactions,
        "ok": counts.ok,
        "timeouts": counts.timeouts,
        "crc_errors": counts.crc_errors,
        "exceptions": counts.exceptions,
        "stale_discarded": counts.stale_discarded,
        "utilisation": round(stats.utilisation, 4),
        "port": list(stats.notes),
        "finding": stats.finding,
        "noise_bytes": counts.noise_bytes,
        "lateness_ms": _spans(stats.lateness),
        "devices": {name: _device(device) for name, device in stats.devices.items()},
    }


def _device(stats: DeviceStats) -> dict[str, Any]:
    return {
        "transactions": stats.counts.transactions,
        "ok": stats.counts.ok,
        "timeouts": stats.counts.timeouts,
        "crc_errors": stats.counts.crc_errors,
        "exceptions": stats.counts.exceptions,
        "answer_ms": _spans(stats.answers),
        "last_error": stats.mishap._asdict() if stats.mishap else None,
    }


def _spans(spans: Spans | None) -> dict[str, float] | None:
    return spans._asdict() if spans else None
