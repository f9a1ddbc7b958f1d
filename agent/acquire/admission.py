"""A plan in, what its buses will not be able to keep up with out, as sentences; pure."""

from agent.acquire.plan import BusPlan, Plan
from agent.model import NS_PER_MS

MOST_UTILISATION = 0.85  # the rest is for retries, slow answers and writes


def overloads(plan: Plan) -> list[str]:
    """One sentence for everything that is too much."""
    return [sentence for bus in plan.buses for sentence in (*_utilisation(bus), *_periods(bus))]


def _utilisation(bus: BusPlan) -> list[str]:
    percent = f"{100 * bus.utilisation:.0f} %"
    if bus.utilisation > 1:
        return [f"bus '{bus.name}': its reads take {percent} of the time there is; some `every` cannot be kept"]
    if bus.utilisation > MOST_UTILISATION:
        return [f"bus '{bus.name}': its reads take {percent} of the time, which leaves little for retries"]
    return []


def _periods(bus: BusPlan) -> list[str]:
    """A read that is waited for is late by as long as the longest other one takes."""
    if not bus.block_info:
        return []
    fastest = min(bus.block_info, key=lambda info: info.period_ns)
    longest = max(bus.block_info, key=lambda info: info.transaction_ns)
    if longest.transaction_ns <= fastest.period_ns:
        return []
    every_ms, takes_ms = fastest.period_ns / NS_PER_MS, longest.transaction_ns / NS_PER_MS
    return [
        f"bus '{bus.name}': every {every_ms:g} ms of device '{fastest.device}' cannot be kept, "
        f"because a read of device '{longest.device}' takes {takes_ms:.0f} ms"
    ]
