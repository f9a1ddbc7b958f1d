"""A configuration and its plan in, what its buses will not be able to keep up with and what would help out; pure.

A bus takes polls without interrupting one that runs, the most urgent first. It keeps all periods when its polls take at
most 85 % of the time and the longest of them fits into the shortest period.
"""

from math import ceil

from msgspec.structs import replace

from agent.acquire.limits import BIT_TABLES
from agent.acquire.plan import BlockInfo, BusPlan, Plan, compile_plan
from agent.acquire.wire import line_of
from agent.config.model import Bus, Config
from agent.model import NS_PER_MS, NS_PER_S

DEVICE_BAUDS = (2400, 4800, 9600, 19200, 38400, 57600, 115200)  # what devices can usually be set to
MOST_UTILISATION = 0.85  # the rest is for retries, slow answers and writes


def overloads(config: Config, plan: Plan) -> list[str]:
    """One sentence for everything that is too much, with the numbers and what to change."""
    return [
        sentence
        for settings, bus in zip(config.buses, plan.buses, strict=True)
        for sentence in (*_utilisation(config, settings, bus), *_periods(settings, bus))
    ]


def slowdown(bus: BusPlan) -> float:
    """By which factor all periods of a bus must grow to be kept; 1 when they can be kept as they are."""
    return max(1.0, bus.utilisation / MOST_UTILISATION)


def _utilisation(config: Config, settings: Bus, bus: BusPlan) -> list[str]:
    if bus.utilisation <= MOST_UTILISATION:
        return []
    effect = "which leaves little for retries"
    if bus.utilisation > 1:
        effect = f"so each comes about {bus.utilisation:.2g} times as late as asked"
    remedies = [*_faster_line(config, settings), *_slower_device(bus)]
    remedy = f"; to get to {percent(MOST_UTILISATION)}: {', or '.join(remedies)}"
    return [f"bus '{bus.name}': its reads take {percent(bus.utilisation)} of the time, {effect}{remedy}"]


def _faster_line(config: Config, settings: Bus) -> list[str]:
    """The slowest usual baud rate at which all can be kept."""
    if not is_serial(settings):
        return []
    for baud in DEVICE_BAUDS:
        if baud > settings.baud:
            (bus,) = compile_plan(replace(config, buses=(replace(settings, baud=baud),))).buses
            if bus.utilisation <= MOST_UTILISATION:
                return [f"baud = {baud} ({percent(bus.utilisation)})"]
    return []


def _slower_device(bus: BusPlan) -> list[str]:
    """A longer period for the reads that take the most, or for all of them where that is not enough."""
    by_rate: dict[tuple[str, int], float] = {}
    for info in bus.block_info:
        rate = info.device, info.period_ns
        by_rate[rate] = by_rate.get(rate, 0.0) + info.share
    (device, period_ns), share = max(by_rate.items(), key=lambda item: item[1])
    left = share - (bus.utilisation - MOST_UTILISATION)
    if left < share / 10:  # one device more than ten times as slow is no remedy
        return [f"every {slowdown(bus):.2g} times as long for all devices"]
    return [f"every = \"{_rounded_up(period_ns * share / left)}\" instead of {_time(period_ns)} for device '{device}'"]


def _periods(settings: Bus, bus: BusPlan) -> list[str]:
    """A read that is waited for is late by as long as the longest other one takes."""
    if not bus.block_info:
        return []
    fastest = min(bus.block_info, key=lambda info: info.period_ns)
    longest = max(bus.block_info, key=lambda info: info.transaction_ns)
    if longest.transaction_ns <= fastest.period_ns:
        return []
    every, takes_ms = _time(fastest.period_ns), longest.transaction_ns / NS_PER_MS
    return [
        f"bus '{bus.name}': every {every} of device '{fastest.device}' cannot be kept, because a read of device "
        f"'{longest.device}' takes {takes_ms:.0f} ms" + _shorter(settings, bus, longest, fastest)
    ]


def _shorter(settings: Bus, bus: BusPlan, longest: BlockInfo, fastest: BlockInfo) -> str:
    """How to make the longest read fit into the shortest period."""
    line, index = line_of(settings), bus.devices.index(longest.device)
    gap_ns = settings.units[index][0].gap_ns
    least = max(item.end - item.start for read in bus.reads[index] for item in read.wanted)
    fits = [
        quantity
        for quantity in range(least, longest.quantity)
        if line.transaction_ns(longest.table, quantity, gap_ns) <= fastest.period_ns
    ]
    if not fits:
        return f'; nothing below every = "{_rounded_up(longest.transaction_ns)}" can be'
    key = "max_bits" if longest.table in BIT_TABLES else "max_registers"
    return f"; {key} = {fits[-1]} for device '{longest.device}' makes its reads short enough"


def percent(share: float) -> str:
    """Of the time, in words."""
    return f"{100 * share:.0f} %"


def is_serial(bus: Bus) -> bool:
    """Whether the bus's speed is one that can be set."""
    return bus.protocol != "modbus-tcp"


def _time(period_ns: float) -> str:
    return f"{period_ns / NS_PER_S:g} s" if period_ns >= NS_PER_S else f"{period_ns / NS_PER_MS:g} ms"


def _rounded_up(period_ns: float) -> str:
    """As it is written in a configuration, with two digits that count."""
    ms = period_ns / NS_PER_MS
    step = 10 ** max(0, len(str(int(ms))) - 2)
    ms = ceil(ms / step) * step
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"
