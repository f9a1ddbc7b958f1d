"""A compiled plan in, how much of each bus it takes out: as tables for people, as parts of a JSON document."""

from typing import Any

from agent.acquire.admission import MOST_UTILISATION, percent, slowdown
from agent.acquire.plan import BlockInfo, BusPlan
from agent.cli.words import counted
from agent.config.model import Bus
from agent.model import NS_PER_MS, NS_PER_S

COLUMNS = ("device", "unit", "reads", "registers", "used", "tags", "every", "on the wire", "takes about", "share")
TO_THE_RIGHT = (1, 3, 4, 5, 6, 7, 8, 9)  # numbers


def table(settings: Bus, bus: BusPlan) -> str:
    """One bus: a line for each of its requests, and what they come to."""
    rows = [COLUMNS, *(_row(info, bus) for info in bus.block_info)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [f"bus {bus.name}: {_line(settings)}"]
    for row in rows:
        cells = (
            cell.rjust(width) if column in TO_THE_RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join([*lines, *_totals(bus)])


def document(bus: BusPlan) -> dict[str, Any]:
    """One bus, for programs."""
    return {
        "name": bus.name,
        "requests_per_cycle": len(bus.block_info),
        "requests_per_s": _requests_per_s(bus),
        "utilisation": bus.utilisation,
        "fits": bus.utilisation <= MOST_UTILISATION,
        "samples_per_s": bus.samples_per_s,
        "requests": [_request(info, slowdown(bus)) for info in bus.block_info],
    }


def _line(bus: Bus) -> str:
    if bus.protocol == "modbus-tcp":
        return f"{bus.protocol} {bus.port}"
    return f"{bus.protocol} {bus.port} {bus.baud} 8{bus.parity}{bus.stop_bits}"


def _row(info: BlockInfo, bus: BusPlan) -> tuple[str, ...]:
    last = info.address + info.quantity - 1
    span = f"{info.address}-{last}" if info.quantity > 1 else str(info.address)
    return (
        info.device,
        str(info.unit),
        f"{info.table}:{span}",
        str(info.quantity),
        str(info.used),
        str(len(info.tags)),
        _every(info, bus),
        f"{info.wire_ns / NS_PER_MS:.1f} ms",
        f"{info.transaction_ns / NS_PER_MS:.1f} ms",
        f"{100 * info.share:.2f} %",
    )


def _every(info: BlockInfo, bus: BusPlan) -> str:
    """As asked, and what can be had where that is too often."""
    asked = f"{info.period_ns / NS_PER_S:g} s"
    return asked if slowdown(bus) == 1 else f"{asked} -> {slowdown(bus) * info.period_ns / NS_PER_S:.3g} s"


def _totals(bus: BusPlan) -> list[str]:
    tags = sum(len(info.tags) for info in bus.block_info)
    cycle_ms = sum(info.transaction_ns for info in bus.block_info) / NS_PER_MS
    totals = (
        f"  {counted(tags, 'tag')} in {counted(len(bus.block_info), 'request')} per cycle of {cycle_ms:.0f} ms, "
        f"{_requests_per_s(bus):.4g} requests/s, {100 * bus.utilisation:.1f} % utilisation, "
        f"{bus.samples_per_s:.4g} samples/s"
    )
    if slowdown(bus) == 1:
        return [totals]
    return [totals, f"  achievable: what stands behind the arrows, at {percent(MOST_UTILISATION)} utilisation"]


def _requests_per_s(bus: BusPlan) -> float:
    return sum(NS_PER_S / info.period_ns for info in bus.block_info)


def _request(info: BlockInfo, times: float) -> dict[str, Any]:
    return {
        "device": info.device,
        "unit": info.unit,
        "table": info.table,
        "address": info.address,
        "quantity": info.quantity,
        "used": info.used,
        "tags": list(info.tags),
        "every_s": info.period_ns / NS_PER_S,
        "achievable_every_s": times * info.period_ns / NS_PER_S,
        "wire_ms": info.wire_ns / NS_PER_MS,
        "takes_ms": info.transaction_ns / NS_PER_MS,
        "share": info.share,
    }
