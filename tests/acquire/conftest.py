"""A small Modbus RTU device on a pty, a configuration for it, and waiting without sleeping;
typed configurations for plans, built without files.
"""

import os
import pty
import select
import struct
import threading
import time
import tty
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tcp_servers
from layouts import Sample, records
from learning import KEY, Mind, World
from ports import FakeLines
from wire import with_crc

from agent._native.samples import Samples
from agent.acquire.bus import Acquisition
from agent.acquire.limits import NOTHING, Learned
from agent.acquire.plan import compile_plan
from agent.config.model import Bus, Config, Device, Gateway, Store, Table, Tag
from agent.model import NS_PER_MS, NS_PER_S, ValueType

DEADLINE_S = 10.0


def registers(unit: int, function: int, address: int, count: int) -> bytes:
    """Every register holds its own address."""
    payload = b"".join(struct.pack(">H", address + at) for at in range(count))
    frame = bytes([unit, function, len(payload)]) + payload
    return with_crc(frame)


class PtyDevice:
    """Answers reads of some units on a pty of its own, symlinked as `path`; `answer` may be replaced at any time."""

    def __init__(self, path: Path, units: tuple[int, ...] = (1,)) -> None:
        self.path = path
        self.units = units
        self.answer: Callable[[int, int, int, int], bytes] = registers
        self.pieces = 1  # writes that an answer takes
        self.requests = 0
        self.asked = threading.Condition()
        self._stop_read, self._stop_write = os.pipe()
        self._open()

    def _open(self) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        fresh = self.path.with_suffix(".new")
        fresh.symlink_to(os.ttyname(slave))
        fresh.replace(self.path)
        os.close(slave)
        self._thread = threading.Thread(target=self._serve, args=(self.master,), daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        os.read(self._stop_read, 1)
        os.close(self.master)

    def replug(self) -> None:
        self._open()

    def close(self) -> None:
        if self._thread.is_alive():
            self.unplug()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _serve(self, master: int) -> None:
        waiting = select.poll()
        waiting.register(self._stop_read, select.POLLIN)
        waiting.register(master, select.POLLIN)
        received = b""
        while self._stop_read not in [fd for fd, _ in waiting.poll()]:
            try:
                received += os.read(master, 256)
            except OSError:  # nobody has the other side open
                select.select([self._stop_read], [], [], 0.002)
                continue
            while len(received) >= 8:
                request, received = received[:8], received[8:]
                self._reply(master, *struct.unpack_from(">BBHH", request))

    def _reply(self, master: int, unit: int, function: int, address: int, count: int) -> None:
        with self.asked:
            self.requests += 1
            self.asked.notify_all()
        if unit not in self.units:
            return
        answer = self.answer(unit, function, address, count)
        size = -(-len(answer) // self.pieces)
        for start in range(0, len(answer), size):
            os.write(master, answer[start : start + size])

    def wait_for_requests(self, more: int) -> None:
        with self.asked:
            wanted = self.requests + more
            assert self.asked.wait_for(lambda: self.requests >= wanted, DEADLINE_S)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[PtyDevice]:
    made = PtyDevice(tmp_path / "port")
    yield made
    made.close()


@pytest.fixture
def other_device(tmp_path: Path) -> Iterator[PtyDevice]:
    made = PtyDevice(tmp_path / "other")
    yield made
    made.close()


def make_bus(
    path: Path | str, *, name: str = "rs485", units: tuple[int, ...] = (1,), tags: int = 10, **settings
) -> Bus:
    every_ns = settings.pop("every_ns", 5 * NS_PER_MS)
    read = tuple(
        Tag(name=f"t{at}", table=Table.HOLDING, address=100 + at, type=ValueType.U16, every_ns=every_ns)
        for at in range(tags)
    )
    devices = tuple(Device(name=f"unit{unit}", unit=unit, tags=read) for unit in units)
    defaults = {"baud": 115200, "parity": "N", "timeout_ns": 100 * NS_PER_MS}
    return Bus(name=name, port=str(path), devices=devices, **(defaults | settings))


class Running:
    """An acquisition, and its samples as they come."""

    def __init__(self, *buses: Bus) -> None:
        self.buses = buses
        self.plan = compile_plan(config_on(*buses))
        self.acquisition = Acquisition(buses, self.plan)
        self.seen: list[Sample] = []

    def drain(self) -> list[Sample]:
        samples = Samples()
        self.acquisition.drain(samples)
        new = records(samples)
        self.seen += new
        return new

    def wait(self, wanted: Callable[[], bool]) -> None:
        """Drain until `wanted`."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.drain()
            if wanted():
                return
            select.select([self.acquisition.fileno()], [], [], 0.002)
        pytest.fail(f"did not happen within {DEADLINE_S} s; {self.acquisition.stats()}")


def config_on(*buses: Bus) -> Config:
    return Config(gateway=Gateway(id="test"), mqtt=None, store=Store(), buses=buses)


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*buses: Bus) -> Running:
        running = Running(*buses)
        started.append(running)
        running.acquisition.start()
        return running

    yield start
    for running in started:
        running.acquisition.stop()


@pytest.fixture
def server() -> Iterator[Callable[..., tcp_servers.Server]]:
    started: list[tcp_servers.Server] = []

    def start(serve: Callable[[Any], None], port: int = 0) -> tcp_servers.Server:
        started.append(tcp_servers.Server(serve, port))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def bus_on() -> Callable[..., Bus]:
    return make_bus


@pytest.fixture
def config_of() -> Callable[..., Config]:
    return config_on


@pytest.fixture
def readable() -> Callable[[int, float], bool]:
    """Whether a file descriptor becomes readable within so many seconds."""
    return lambda fd, seconds: bool(select.select([fd], [], [], seconds)[0])


LENGTHS = {ValueType.F32: 2, ValueType.U32: 2, ValueType.I32: 2, ValueType.F64: 4, ValueType.U64: 4}


def _tag(table: Table, address: int, type_: ValueType = ValueType.U16, **settings: Any) -> Tag:
    settings = {"name": f"{table}{address}", "every_ns": NS_PER_S, "length": LENGTHS.get(type_, 1), **settings}
    return Tag(table=table, address=address, type=type_, **settings)


def _config(*devices: Device, **bus: Any) -> Config:
    settings = {"name": "b", "port": "/dev/x", "timeout_ns": 300_000_000, **bus}
    return Config(gateway=Gateway(id="g"), mqtt=None, store=Store(), buses=(Bus(devices=devices, **settings),))


def _device(tags: Iterable[Tag], **settings: Any) -> Device:
    return Device(**{"name": "d", "unit": 1, "tags": tuple(tags), **settings})


@pytest.fixture
def make_tag() -> Callable[..., Tag]:
    return _tag


@pytest.fixture
def make_device() -> Callable[..., Device]:
    return _device


@pytest.fixture
def make_config() -> Callable[..., Config]:
    """A configuration of one bus."""
    return _config


@pytest.fixture
def world(make_config: Callable[..., Config], make_device: Callable[..., Device]) -> Callable[..., World]:
    def make(tags: Iterable[Tag], mind: Mind, known: Learned = NOTHING, **others: Any) -> World:
        config = make_config(make_device(tags), *others.get("devices", ()), baud=115200, parity="N")
        return World(config, {1: mind, **others.get("minds", {})}, {KEY: known})

    return make


@pytest.fixture
def lines() -> Iterator[FakeLines]:
    """A loop without buses."""
    made = FakeLines()
    yield made
    os.close(made.bell)
