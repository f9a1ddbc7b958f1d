"""The statistics of one bus in, sentences that say what they point to out, none where they point nowhere; pure.

Each rule names the numbers that it rests on. What cannot be told apart is offered as alternatives.
"""

from collections.abc import Iterator

from agent.acquire.statistics import BusStats, DeviceStats
from agent.config.model import Bus
from agent.model import NS_PER_MS

ENOUGH = 50  # polls; with fewer, shares are chance
DAMAGED, CLEAN = 0.05, 0.01  # shares of the polls whose answers came damaged: of a bad device, of a good one
UNANSWERED = 0.05
REFUSED = 0.5
LATE = 0.01
SKIPPED = 0.05
NOISY = 0.05  # share of the bytes heard
BABBLED = 3  # times the noise that others hear in so long is still that of the line
COLLIDED = 0.01
TIMER_IS_SET = "latency timer: 1 ms"  # the note of agent/acquire/latency.py
TIMER_MS = (12.0, 21.0)  # what FTDI's latency timer, 16 ms, adds to any answer, with a little for the device
ALIKE = 2  # devices: of one alone nobody can tell whether it is the adapter

_Devices = dict[str, DeviceStats]


def advise(bus: Bus, stats: BusStats) -> tuple[str, ...]:
    """What an engineer would look at first, in this order."""
    if stats.port != "open" and not stats.counts.transactions:
        return ()  # its error says why
    heard = {name: device for name, device in stats.devices.items() if device.counts.answers}
    if not heard:
        return tuple(_nobody(bus, stats))
    judged = {name: device for name, device in heard.items() if device.counts.transactions >= ENOUGH}
    found = [*_missing(bus, stats, heard), *_damaged(stats, judged), *_refusing(judged), *_unanswered(bus, judged)]
    return (*found, *_adapter(bus, stats, judged), *_crowded(stats), *_intruders(stats))


def _nobody(bus: Bus, stats: BusStats) -> Iterator[str]:
    if stats.counts.transactions < ENOUGH and stats.counts.failures < len(stats.devices):
        return
    is_tcp = bus.protocol == "modbus-tcp"
    units = ", ".join(str(device.unit) for device in stats.devices.values())
    if not stats.counts.bytes_heard:
        causes = "another master has it" if is_tcp else "power, wiring (A and B), the port"
        yield f"no device has ever answered, and not a byte came: {causes}, or the unit numbers ({units}) are others"
        return
    causes = "it is no Modbus TCP; where it is RTU, rtu+tcp:// reads it"
    if not is_tcp:
        causes = f"another baud rate or parity than {_settings(bus)}, A and B swapped, or another protocol"
    yield f"no device has ever answered, but {stats.counts.bytes_heard} bytes came: {causes}"


def _missing(bus: Bus, stats: BusStats, heard: _Devices) -> Iterator[str]:
    for name, device in stats.devices.items():
        if name not in heard and device.counts.noise_bytes and not _is_the_lines(device, heard):
            yield (
                f"{name} has never answered as it should, others do; {device.counts.noise_bytes} bytes came instead: "
                f"it uses another baud rate or parity than {_settings(bus)}, or shares unit {device.unit} with another"
            )
        elif name not in heard and device.counts.transactions:
            yield f"{name} has never answered, others do: its power, its own wiring, or its unit number ({device.unit})"
        elif device.is_suspect:
            yield f"{name} has answered {device.counts.answers} times and now is silent: its power or its own wiring"


def _is_the_lines(device: DeviceStats, others: _Devices) -> bool:
    """What was heard instead of its answers is heard beside the answers of others, too."""
    noise = sum(each.counts.noise_bytes for each in others.values())
    busy_ns = sum(each.counts.busy_ns for each in others.values())
    return device.counts.noise_bytes * busy_ns < BABBLED * noise * device.counts.busy_ns


def _damaged(stats: BusStats, judged: _Devices) -> Iterator[str]:
    shares = {name: device.counts.crc_errors / device.counts.transactions for name, device in judged.items()}
    bad = {name: share for name, share in shares.items() if share >= DAMAGED}
    clean = sum(share <= CLEAN for share in shares.values())
    if len(bad) > 1 and len(bad) == len(shares):
        extent = f"{_percent(min(bad.values()))} to {_percent(max(bad.values()))}"
        cause = stats.finding or "termination, bias, shield, ground"
        yield f"answers of every device come damaged ({extent}): the line as a whole: {cause}"
        return
    for name, share in bad.items():
        what = f"{_percent(share)} of the polls of {name} are answered with CRC errors"
        if clean and clean + len(bad) == len(shares):
            yield f"{what}, the others' are not: its own wiring, its distance or stub, its ground, or its transceiver"
        else:
            yield f"{what}: {stats.finding or 'termination, bias, shield, ground, or its transceiver'}"


def _refusing(judged: _Devices) -> Iterator[str]:
    for name, device in judged.items():
        share = device.counts.exceptions / device.counts.transactions
        if share >= REFUSED:
            last = f" (the last time: {device.mishap.what})" if device.mishap else ""
            yield f"{name} refuses {_percent(share)} of its polls{last}: it has other registers than the configuration"


def _unanswered(bus: Bus, judged: _Devices) -> Iterator[str]:
    timeout = f"timeout_ms = {bus.timeout_ns // NS_PER_MS}"
    for name, device in judged.items():
        late = device.counts.stale_discarded
        lost = device.counts.timeouts / device.counts.transactions
        if late >= LATE * device.counts.transactions:
            yield f"{name} has answered {late} times when it was no longer awaited: {timeout} is too short for it"
        elif lost >= UNANSWERED and not device.is_suspect:
            yield f"{_percent(lost)} of the polls of {name} get no answer, not even late: requests or answers get lost"


def _adapter(bus: Bus, stats: BusStats, judged: _Devices) -> Iterator[str]:
    """All of several devices take as long as a latency timer that could not be set."""
    medians = [device.turnarounds.p50 for device in judged.values() if device.turnarounds]
    least, most = TIMER_MS
    if "://" in bus.port or len(medians) < ALIKE or TIMER_IS_SET in stats.notes:
        return
    if least <= min(medians) and max(medians) <= most:
        yield (
            f"every device takes {min(medians):g} to {max(medians):g} ms to answer: the latency timer of a USB adapter "
            "rather than the devices (docs/PORTS.md says how to set it)"
        )


def _crowded(stats: BusStats) -> Iterator[str]:
    wanted = stats.counts.transactions + stats.counts.overruns
    if wanted >= ENOUGH and stats.counts.overruns >= SKIPPED * wanted:
        yield (
            f"{_percent(stats.counts.overruns / wanted)} of the polls were skipped: their period was over before the "
            "bus was free: `fieldtap check` says what it can carry, and what would help"
        )


def _intruders(stats: BusStats) -> Iterator[str]:
    counts = stats.counts
    if counts.collisions >= max(1, COLLIDED * counts.transactions):
        yield f"the echo of {counts.collisions} requests differs from what was sent: somebody else sends, too"
    elif counts.noise_bytes >= NOISY * max(1, counts.bytes_heard) and counts.crc_errors < CLEAN * counts.transactions:
        yield (
            f"{counts.noise_bytes} of {counts.bytes_heard} bytes were in no answer, while answers are intact: another "
            "master, another protocol on the line, or no bias while nobody sends"
        )


def _settings(bus: Bus) -> str:
    return f"{bus.baud} baud 8{bus.parity}{bus.stop_bits}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
