import ctypes
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import with_crc

from agent._native.busloop import BusLoop
from agent._native.samples import Samples
from agent.acquire import pdu
from agent.acquire.bus import Acquisition
from agent.acquire.events import Kind
from agent.acquire.pdu import Ask
from agent.acquire.plan import compile_plan
from agent.acquire.port import open_port
from agent.acquire.statistics import Counts
from agent.acquire.tickets import Steps
from agent.config.model import Table
from agent.model import NS_PER_MS, NS_PER_S, Quality
from agent.simulate.simulator import Simulator

STOP_S = 5.0  # what SIGTERM leaves
ENDLESS_NS = 3600 * NS_PER_S  # a timeout that no test lives to see


def values(running: Any) -> dict[int, int]:
    """The last good value of each tag."""
    return {sample.tag: sample.value for sample in running.seen if sample.quality == Quality.GOOD}


def failing(running: Any) -> set[int]:
    """Tags whose last sample says comm-fail."""
    last = {sample.tag: sample.quality for sample in running.seen}
    return {tag for tag, quality in last.items() if quality == Quality.COMM_FAIL}


# --- reading ---


def test_registers_on_a_pty_become_samples(device: Any, run: Callable, bus_on: Callable) -> None:
    running = run(bus_on(device.path))
    running.wait(lambda: len(running.seen) >= 200)
    assert values(running) == {tag: 100 + tag for tag in range(10)}
    times = [sample.time_ns for sample in running.seen[::10]]
    assert times == sorted(set(times))
    stats = running.acquisition.stats()["rs485"]
    assert stats.counts.ok >= 20
    assert stats.counts.timeouts == stats.counts.crc_errors == stats.counts.stale_discarded == stats.ring_dropped == 0
    assert stats.port == "open"
    assert 0 < stats.utilisation < 1
    assert stats.devices["unit1"].counts == stats.counts
    assert list(stats.devices) == ["unit1"]


def test_a_slow_device_in_pieces_is_read_as_well(device: Any, run: Callable, bus_on: Callable) -> None:
    device.pieces = 3
    running = run(bus_on(device.path))
    running.wait(lambda: len(running.seen) >= 500)
    assert values(running) == {tag: 100 + tag for tag in range(10)}
    assert not failing(running)


def test_a_terminal_that_marks_damaged_characters_is_read_as_well(device: Any, run: Callable, bus_on: Callable) -> None:
    device.answer = lambda unit, function, address, count: with_crc(
        bytes([unit, function, 2 * count]) + b"\xff\x00\xff\xff" * (count // 2)
    )
    device.pieces = 7
    running = run(bus_on(device.path, mark_errors="on"))
    running.wait(lambda: len(running.seen) >= 200)
    assert values(running) == {tag: (0xFF00, 0xFFFF)[tag % 2] for tag in range(10)}
    assert running.acquisition.stats()["rs485"].counts.crc_errors == 0
    assert running.acquisition._loops._lines.marks(0)[1] == 0


def test_simulated_devices_on_serial_and_tcp_are_read_side_by_side(
    tmp_path: Path, run: Callable, bus_on: Callable, config_of: Callable
) -> None:
    buses = (
        bus_on(tmp_path / "line", name="line", units=(1, 2)),
        bus_on("tcp://127.0.0.1:0", name="net", protocol="modbus-tcp", units=(1, 2)),
    )
    simulator = Simulator(config_of(*buses), link_dir=tmp_path)
    simulator.start()
    try:
        line = bus_on(simulator.paths["line"], name="line", units=(1, 2))
        net = bus_on(simulator.paths["net"], name="net", protocol="modbus-tcp", units=(1, 2))
        running = run(line, net)
        running.wait(lambda: len(values(running)) == 40)
        running.wait(lambda: all(bus.counts.ok >= 50 for bus in running.acquisition.stats().values()))
        assert not failing(running)
    finally:
        simulator.stop()


def test_a_pause_is_kept_between_two_devices_and_not_where_there_is_one(
    device: Any, other_device: Any, run: Callable, bus_on: Callable
) -> None:
    device.units = (1, 2)
    paused = {"switch_ns": 30 * NS_PER_MS, "every_ns": 10 * NS_PER_MS, "tags": 1}
    running = run(
        bus_on(device.path, name="two", units=(1, 2), **paused), bus_on(other_device.path, name="one", **paused)
    )
    running.wait(lambda: len([sample for sample in running.seen if sample.tag < 2]) >= 10)
    times = sorted(sample.time_ns for sample in running.seen if sample.tag < 2)
    assert min(after - before for before, after in itertools.pairwise(times)) >= 30 * NS_PER_MS
    assert sum(sample.tag == 2 for sample in running.seen) > 20


def open_files() -> list[str]:
    return [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]


# --- ports that are missing, taken or vanish ---


def test_a_port_that_vanishes_fails_its_tags_and_is_polled_again_once_it_is_back(
    device: Any, run: Callable, bus_on: Callable
) -> None:
    running = run(bus_on(device.path))
    running.wait(lambda: len(values(running)) == 10)
    device.unplug()
    running.wait(lambda: failing(running) == set(range(10)))
    running.wait(lambda: running.acquisition.stats()["rs485"].port == "failed")
    assert "lost: " in running.acquisition.stats()["rs485"].error
    device.replug()
    running.wait(lambda: not failing(running))
    assert running.acquisition.stats()["rs485"].port == "open"
    assert running.acquisition.stats()["rs485"].error == ""


def test_a_lost_port_wakes_the_consumer(device: Any, run: Callable, bus_on: Callable, readable: Callable) -> None:
    running = run(bus_on(device.path, every_ns=3600 * 10**9))
    running.wait(lambda: len(values(running)) == 10)
    running.drain()
    assert not readable(running.acquisition.fileno(), 0)
    device.unplug()
    assert readable(running.acquisition.fileno(), 5)
    assert len(running.drain()) == 10


def test_a_missing_port_fails_its_tags_is_reported_once_and_does_not_disturb_the_others(
    device: Any, tmp_path: Path, run: Callable, bus_on: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    live = bus_on(device.path, name="live", timeout_ns=NS_PER_S)  # the Python device beside us may be late
    running = run(bus_on(tmp_path / "ttyX", name="missing"), live)
    running.wait(lambda: failing(running) == set(range(10)))
    running.wait(lambda: running.acquisition.stats()["live"].counts.ok > 200)  # several retries long
    assert [record.getMessage() for record in caplog.records] == [
        f"bus missing: {tmp_path / 'ttyX'}: No such file or directory"
    ]
    assert len([sample for sample in running.seen if sample.tag < 10]) == 10
    assert running.acquisition.stats()["live"].counts.timeouts == 0


def test_a_port_that_another_program_holds_is_named_and_taken_once_it_is_free(
    device: Any, run: Callable, bus_on: Callable
) -> None:
    bus = bus_on(device.path)
    held = open_port(bus)
    try:
        running = run(bus)
        running.wait(lambda: failing(running) == set(range(10)))
        assert "in use by another bus of this agent" in running.acquisition.stats()["rs485"].error
    finally:
        held.close()
    running.wait(lambda: not failing(running))


def test_two_agents_do_not_share_a_port(device: Any, run: Callable, bus_on: Callable) -> None:
    first = run(bus_on(device.path))
    first.wait(lambda: len(values(first)) == 10)
    second = run(bus_on(device.path))
    second.wait(lambda: failing(second) == set(range(10)))
    first.drain()
    assert not failing(first)


# --- devices that are dead ---


def test_a_dead_unit_beside_a_live_one_does_not_starve_it(device: Any, run: Callable, bus_on: Callable) -> None:
    running = run(bus_on(device.path, units=(1, 9), timeout_ns=20 * NS_PER_MS))
    running.wait(lambda: running.acquisition.stats()["rs485"].counts.ok >= 400)  # only one answers
    devices = running.acquisition.stats()["rs485"].devices
    assert devices["unit9"].counts.ok == 0
    assert 3 <= devices["unit9"].counts.transactions <= 20
    assert failing(running) == set(range(10, 20))


def test_a_live_bus_is_polled_on_and_on_while_a_dead_one_beside_it_is_waited_for_once(
    device: Any, other_device: Any, run: Callable, bus_on: Callable
) -> None:
    other_device.units = ()
    live = bus_on(device.path, name="live", timeout_ns=ENDLESS_NS)  # the Python device beside us may be late
    running = run(live, bus_on(other_device.path, name="dead", timeout_ns=ENDLESS_NS))
    running.wait(lambda: running.acquisition.stats()["dead"].counts.transactions == 1)
    begun = running.acquisition.stats()["live"].counts.ok
    running.wait(lambda: running.acquisition.stats()["live"].counts.ok >= begun + 100)
    dead = running.acquisition.stats()["dead"].counts
    assert (dead.transactions, dead.timeouts) == (1, 0)


def test_a_dead_bus_beside_a_live_one_fails_its_own_tags_alone(
    device: Any, other_device: Any, run: Callable, bus_on: Callable
) -> None:
    other_device.units = ()
    live = bus_on(device.path, name="live", timeout_ns=ENDLESS_NS)
    running = run(live, bus_on(other_device.path, name="dead"))
    running.wait(lambda: failing(running) == set(range(10, 20)) and len(values(running)) == 10)
    assert running.acquisition.stats()["dead"].counts.timeouts >= 1


# --- stopping, planning anew ---


def test_it_stops_soon_also_while_an_answer_is_awaited_and_counts_it_as_missing(
    device: Any, run: Callable, bus_on: Callable
) -> None:
    device.units = ()
    running = run(bus_on(device.path, timeout_ns=ENDLESS_NS))
    running.wait(lambda: running.acquisition.stats()["rs485"].counts.transactions == 1)
    begin = time.monotonic()
    running.acquisition.stop()
    assert time.monotonic() - begin < STOP_S
    counts = running.acquisition.stats()["rs485"].counts
    assert (counts.transactions, counts.timeouts) == (1, 1)


def ended_by(device: Any, running: Any) -> list[tuple[int, ...]]:
    """The next request is answered when the loop has been told to end; that one, and those that come all the same."""
    answer, asked = device.answer, []

    def end_first(*request: int) -> bytes:
        running.acquisition._loops._lines.stop()
        asked.append(request)
        return answer(*request)

    device.answer = end_first
    return asked


def test_the_answer_that_is_under_way_when_it_stops_is_taken_and_nothing_is_asked_after_it(
    device: Any, other_device: Any, run: Callable, bus_on: Callable
) -> None:
    other_device.units = ()
    dead = bus_on(other_device.path, name="dead", timeout_ns=ENDLESS_NS)  # for its sake the end takes longer
    running = run(bus_on(device.path, timeout_ns=ENDLESS_NS, every_ns=1), dead)
    running.wait(lambda: len(values(running)) == 10)
    asked = ended_by(device, running)
    running.wait(lambda: bool(asked))
    running.acquisition.stop()
    running.drain()
    assert len(asked) <= 2  # the loop may be awake, and ask once more, before it sees that it is to end
    counts = running.acquisition.stats()["rs485"].counts
    assert counts.ok == counts.transactions == device.requests
    assert len(running.seen) == 10 * device.requests
    assert not failing(running)


def test_who_waits_for_a_request_that_is_under_way_when_it_stops_gets_its_answer(
    device: Any, run: Callable, bus_on: Callable
) -> None:
    def asking() -> Steps:
        return (yield Ask(7, pdu.read(Table.HOLDING, 500, 1)))

    device.units = (1, 7)
    running = run(bus_on(device.path, timeout_ns=ENDLESS_NS, every_ns=ENDLESS_NS))
    running.wait(lambda: len(values(running)) == 10)
    asked = ended_by(device, running)
    ticket = running.acquisition.submit("rs485", asking())
    running.wait(lambda: bool(asked))
    assert running.acquisition.stop() == [ticket]
    assert ticket.result == b"\x03\x02\x01\xf4"


def test_stopping_closes_every_port_and_thread(device: Any, run: Callable, bus_on: Callable) -> None:
    threads_before = threading.active_count()
    running = run(bus_on(device.path))
    running.wait(lambda: len(values(running)) == 10)
    pty = str(device.path.resolve())
    assert pty in open_files()
    running.acquisition.stop()
    assert threading.active_count() == threads_before
    assert pty not in open_files()


def test_what_is_in_the_rings_can_be_drained_after_the_stop(device: Any, run: Callable, bus_on: Callable) -> None:
    running = run(bus_on(device.path))
    device.wait_for_requests(20)
    running.acquisition.stop()
    assert len(running.drain()) >= 19 * 10


def test_a_new_plan_runs_within_a_tenth_of_a_second_without_reopening(
    device: Any, run: Callable, bus_on: Callable, config_of: Callable
) -> None:
    device.units = ()
    running = run(bus_on(device.path, timeout_ns=200 * NS_PER_MS))
    device.wait_for_requests(1)
    device.units = (1,)
    other = bus_on(device.path, tags=3)
    before = threading.active_count()
    running.acquisition.replan([other], compile_plan(config_of(other)))
    running.wait(lambda: len(values(running)) == 3)
    assert {sample.tag for sample in running.drain()} <= {0, 1, 2}
    assert threading.active_count() == before


def test_a_plan_for_other_buses_is_refused(device: Any, bus_on: Callable, config_of: Callable) -> None:
    buses = (bus_on(device.path),)
    plan = compile_plan(config_of(bus_on(device.path, name="other")))
    with pytest.raises(ValueError, match="other buses than rs485"):
        Acquisition(buses, plan)


# --- cost ---


@pytest.fixture
def flat_out(tmp_path: Path, bus_on: Callable, config_of: Callable) -> Iterator[BusLoop]:
    """A loop that polls a simulated device without any gap, and a thread that runs it."""
    bus = bus_on(tmp_path / "line", name="line", every_ns=1)
    simulator = Simulator(config_of(bus), link_dir=tmp_path)
    simulator.start()
    loop = BusLoop([(False, 0, 0, 0, 0, 17)])
    part = compile_plan(config_of(bus)).buses[0]
    loop.adopt(0, part.blocks, part.points, 1)
    port = open_port(bus_on(simulator.paths["line"], name="line"))
    loop.attach(0, port.fd)
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.stop()
    thread.join()
    port.close()
    simulator.stop()


def heap_bytes() -> int:
    """Bytes that malloc has handed out in this process (mallinfo2, glibc >= 2.33)."""

    class Mallinfo2(ctypes.Structure):
        _fields_ = tuple(
            (name, ctypes.c_size_t) for name in ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks"]
        ) + tuple((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost"))

    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo2
    return int(libc.mallinfo2().uordblks)


def test_a_hundred_thousand_transactions_take_three_system_calls_each_and_no_memory(flat_out: BusLoop) -> None:
    samples = Samples(bytes(32 << 17))  # as many as the ring holds: it need not grow any more
    drained_to(flat_out, samples, 1_000)
    calls, heap = flat_out.calls(), heap_bytes()
    begun = flat_out.counters(0)[0][1]
    done = drained_to(flat_out, samples, begun + 100_000) - begun
    assert heap_bytes() - heap < 64 * 1024  # Python's own objects; not a byte per transaction
    assert (
        sum(flat_out.calls()) - sum(calls) <= 3.06 * done
    )  # now and then the kernel hands an answer over in two pieces
    assert Counts(*flat_out.counters(0)[0]).ok >= 100_000
    assert flat_out.counters(0)[2] == 0


def drained_to(loop: BusLoop, samples: Samples, transactions: int) -> int:
    """Drain until so many transactions went well."""
    deadline = time.monotonic() + 60
    while (done := loop.counters(0)[0][1]) < transactions:
        assert time.monotonic() < deadline
        loop.drain(samples)
        samples.clear()
        threading.Event().wait(0.005)
    return done


def test_a_device_that_falls_silent_and_returns_is_told_once_each(device: Any, run: Callable, bus_on: Callable) -> None:
    running = run(bus_on(device.path, units=(1, 2), timeout_ns=60 * NS_PER_MS))
    acquisition = running.acquisition

    def told(kind: Kind) -> bool:
        acquisition.look(2**62)  # it is always time for another look
        acquisition._look_ns = 0
        return kind in [event.kind for event in acquisition.chronicle.since(0)]

    running.wait(lambda: told(Kind.DEVICE_SILENT))
    assert acquisition.stats()["rs485"].devices["unit2"].is_suspect
    device.units = (1, 2)
    running.wait(lambda: told(Kind.DEVICE_BACK))
    events = [event.kind for event in acquisition.chronicle.since(0) if event.device == "unit2"]
    assert events == [Kind.DEVICE_SILENT, Kind.DEVICE_BACK]
