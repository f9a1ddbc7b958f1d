"""Ports that go and come back, without a bus loop: when they are tried, and what is said about it."""

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import FakeKernel, plug_in, pull_out
from ports import FakeLines, FakeWatch, step

from agent.acquire import supervisor as supervisor_module
from agent.acquire.chronicle import Chronicle
from agent.acquire.kernel import Kernel, Note
from agent.acquire.port import Port, open_port
from agent.acquire.supervisor import (
    FIRST_RETRY_MS,
    LAST_RETRY_MS,
    LAST_UNWATCHED_RETRY_MS,
    NODE_PAUSE_MS,
    Supervisor,
)
from agent.acquire.watch import Watch
from agent.config.model import Bus
from agent.errors import BusError, NotPermittedError
from agent.model import NS_PER_MS

BACK_S = 1.0  # how soon a port is served once its node is back


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The clock, to be set."""
    clock = [10**12]
    monkeypatch.setattr(supervisor_module, "boot_ns", lambda: clock[0])
    return clock


class Opener:
    """open_port, as often as it is asked: raises `error` until that is None."""

    def __init__(self, now: list[int]) -> None:
        self.now = now
        self.error: Exception | None = BusError("no")
        self.tries_ns: list[int] = []
        self.notes: tuple[Note, ...] = ()

    def __call__(self, bus: Bus) -> Port:
        self.tries_ns.append(self.now[0])
        if self.error:
            raise self.error
        port = Port(Kernel(), os.open("/dev/null", os.O_RDWR), bus.port)
        port.notes = self.notes
        return port


@pytest.mark.parametrize(
    ("port", "able", "last_ms"),
    [
        ("/dev/x", True, LAST_RETRY_MS),
        ("/dev/x", False, LAST_UNWATCHED_RETRY_MS),
        ("tcp://h:502", False, LAST_RETRY_MS),
    ],
)
def test_retries_slow_down_to_the_pace_that_the_port_allows(
    now: list[int],
    lines: FakeLines,
    bus_on: Callable,
    caplog: pytest.LogCaptureFixture,
    *,
    port: str,
    able: bool,
    last_ms: int,
) -> None:
    opener = Opener(now)
    supervisor = Supervisor(lines, [bus_on(port)], Chronicle(), opener, FakeWatch(able=able))
    for _ in range(12):
        step(supervisor)
        now[0] = supervisor._slots[0].retry_at_ns
    pauses_ms = [(later - before) / NS_PER_MS for before, later in itertools.pairwise(opener.tries_ns)]
    wanted = [min(FIRST_RETRY_MS * 2**n, last_ms) for n in range(11)]
    assert all(0.8 * want <= pause <= 1.2 * want for pause, want in zip(pauses_ms, wanted, strict=True))
    assert len(set(pauses_ms)) > 1
    assert lines.failed == [0]
    assert len(caplog.records) == 1


def test_an_unwatched_port_is_tried_well_within_a_second_of_its_return() -> None:
    assert LAST_UNWATCHED_RETRY_MS * 1.2 < BACK_S * 1000


def test_a_node_that_appears_has_its_port_tried_at_once_but_no_storm_of_nodes_makes_a_storm_of_tries(
    now: list[int], lines: FakeLines, bus_on: Callable
) -> None:
    opener = Opener(now)
    supervisor = Supervisor(lines, [bus_on("/dev/x")], Chronicle(), opener, FakeWatch(able=True))
    for _ in range(12):
        step(supervisor)
        now[0] = supervisor._slots[0].retry_at_ns
    begin = now[0]
    step(supervisor)
    tried = len(opener.tries_ns)
    for at_ms in range(1, 1001):
        now[0] = begin + at_ms * NS_PER_MS
        supervisor._hurry()
        step(supervisor)
    assert opener.tries_ns[tried] == begin + NODE_PAUSE_MS * NS_PER_MS
    assert len(opener.tries_ns) - tried == 1000 // NODE_PAUSE_MS


def test_an_open_port_is_not_tried_when_a_node_appears(now: list[int], lines: FakeLines, bus_on: Callable) -> None:
    opener = Opener(now)
    opener.error = None
    supervisor = Supervisor(lines, [bus_on("/dev/x")], Chronicle(), opener, FakeWatch(able=True))
    step(supervisor)
    supervisor._hurry()
    now[0] += 10**12
    step(supervisor)
    assert len(opener.tries_ns) == 1
    os.close(lines.attached[0])


def test_a_port_is_told_to_be_open_when_requests_can_go_there(
    now: list[int], lines: FakeLines, bus_on: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener, chronicle, told_with = Opener(now), Chronicle(), []
    opener.error = None
    monkeypatch.setattr(chronicle, "tell", lambda *_: told_with.append(len(lines.attached)))
    step(Supervisor(lines, [bus_on("/dev/x")], chronicle, opener, FakeWatch(able=True)))
    assert told_with == [1]
    os.close(lines.attached[0])


def test_what_was_granted_and_refused_is_told_once_and_again_only_when_it_changes(
    now: list[int], lines: FakeLines, bus_on: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    opener = Opener(now)
    opener.error = None
    opener.notes = (
        Note("rs485", False, "left to the adapter"),
        Note("low latency", True, "set"),
        Note("latency timer", False, "stays at 16", "allow it with X"),
    )
    supervisor = Supervisor(lines, [bus_on("/dev/x")], Chronicle(), opener, FakeWatch(able=True))
    told = []
    for _ in range(3):
        step(supervisor)
        told.append([(record.levelname, record.getMessage()) for record in caplog.records])
        caplog.clear()
        lines.lost.append((lines.attached[-1], 5))
        now[0] += 10**10
        step(supervisor)
        now[0] += 10**10
    assert told[0] == [
        ("INFO", "bus rs485: /dev/x is open (low latency: set)"),
        ("INFO", "bus rs485: /dev/x: rs485: left to the adapter"),
        ("WARNING", "bus rs485: /dev/x: latency timer: stays at 16; allow it with X"),
    ]
    assert not [words for level, words in told[1] + told[2] if level == "WARNING" and "latency" in words]
    assert supervisor.notes(0) == opener.notes


# --- with the system's own inotify, on a folder that plays /dev ---


class Running:
    """A supervisor in its thread."""

    def __init__(self, lines: FakeLines, bus: Bus, open_: Callable[[Bus], Port], watch: Watch) -> None:
        self.supervisor = Supervisor(lines, [bus], Chronicle(), open_, watch)
        self.watch = watch
        self.thread = threading.Thread(target=self.supervisor.run)
        self.thread.start()

    def stop(self) -> None:
        self.supervisor.stop()
        self.thread.join()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but a node that appears has a port tried again."""
    monkeypatch.setattr(supervisor_module, "FIRST_RETRY_MS", 3_600_000)
    monkeypatch.setattr(supervisor_module, "LAST_RETRY_MS", 3_600_000)


@pytest.fixture
def running(lines: FakeLines) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*wanted: Any) -> Running:
        started.append(Running(lines, *wanted))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def opener_of(path: Path) -> Callable[[Bus], Port]:
    """Opens what is at `path`, if it is there."""

    def open_(bus: Bus) -> Port:
        try:
            return Port(Kernel(), os.open(path, os.O_RDONLY), bus.port)
        except OSError as error:
            raise BusError(str(error)) from error

    return open_


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("gone", ["link", "folder", "all"])
def test_a_port_that_comes_back_under_another_name_is_served_within_a_second(
    tmp_path: Path, lines: FakeLines, bus_on: Callable, running: Callable, gone: str
) -> None:
    by_id = tmp_path / "dev" / "serial" / "by-id" / "usb-FTDI-if00-port0"
    by_id.parent.mkdir(parents=True)
    (tmp_path / "dev" / "ttyUSB0").touch()
    by_id.symlink_to(tmp_path / "dev" / "ttyUSB0")
    run = running(bus_on(by_id), opener_of(by_id), Watch())
    assert lines.wait(lambda: len(lines.attached) == 1, 5)

    by_id.unlink()
    (tmp_path / "dev" / "ttyUSB0").unlink()
    for folder in (by_id.parent, by_id.parent.parent)[: ["link", "folder", "all"].index(gone)]:
        folder.rmdir()  # udev removes those that are empty
    lines.lose()
    until(lambda: run.supervisor.state(0)[0] == "failed")
    (tmp_path / "dev" / "ttyUSB1").touch()
    by_id.parent.mkdir(parents=True, exist_ok=True)
    by_id.symlink_to(tmp_path / "dev" / "ttyUSB1")
    assert lines.wait(lambda: len(lines.attached) == 2, BACK_S)


@pytest.mark.usefixtures("patient")
def test_a_folder_that_goes_while_it_is_watched_is_watched_again_when_it_comes_back(
    tmp_path: Path, lines: FakeLines, bus_on: Callable, running: Callable
) -> None:
    by_id = tmp_path / "serial" / "by-id" / "usb-FTDI-if00-port0"
    by_id.parent.mkdir(parents=True)
    seen: list[tuple[bool, bool]] = []

    def open_(bus: Bus) -> Port:
        seen.append((by_id.parent.parent.exists(), by_id.parent.exists()))
        return opener_of(by_id)(bus)

    running(bus_on(by_id), open_, Watch())
    until(lambda: bool(seen))
    by_id.parent.rmdir()
    by_id.parent.parent.rmdir()
    until(lambda: seen[-1] == (False, False))
    by_id.parent.parent.mkdir()
    until(lambda: seen[-1] == (True, False))
    by_id.parent.mkdir()
    until(lambda: seen[-1] == (True, True))
    by_id.symlink_to("/dev/null")
    assert lines.wait(lambda: len(lines.attached) == 1, BACK_S)


@pytest.mark.usefixtures("patient")
def test_a_node_that_may_be_used_only_a_moment_later_is_tried_again_then(
    tmp_path: Path, lines: FakeLines, bus_on: Callable, running: Callable
) -> None:
    node = tmp_path / "ttyUSB0"

    tried: list[bool] = []

    def open_(bus: Bus) -> Port:
        tried.append(node.exists())
        if not node.exists() or node.stat().st_mode & 0o777 != 0o660:
            raise NotPermittedError("not yet")
        return Port(Kernel(), os.open(node, os.O_RDONLY), bus.port)

    running(bus_on(node), open_, Watch())
    assert lines.wait(lambda: lines.failed == [0], 5)
    node.touch(0o600)
    until(lambda: tried[-1])
    node.chmod(0o660)
    assert lines.wait(lambda: len(lines.attached) == 1, BACK_S)


@pytest.mark.parametrize("odd", ["loop", "loop/tty", "file/tty", "no/such/folder/tty", "tty" * 100])
def test_the_oddest_path_can_be_watched_for(tmp_path: Path, odd: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    watch = Watch()
    assert watch.cover(str(tmp_path / odd))
    watch.close()


def test_folders_are_watched_only_while_a_port_is_missing(
    tmp_path: Path, lines: FakeLines, bus_on: Callable, running: Callable
) -> None:
    node = tmp_path / "ttyUSB0"
    watch = Watch()
    run = running(bus_on(node), opener_of(node), watch)
    assert lines.wait(lambda: lines.failed == [0], 5)
    assert watch.fileno() is not None
    node.touch()
    assert lines.wait(lambda: len(lines.attached) == 1, BACK_S)
    run.stop()
    assert watch.fileno() is None
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(lines.attached[0])


def test_without_inotify_a_port_comes_back_all_the_same(
    tmp_path: Path, lines: FakeLines, bus_on: Callable, running: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "ttyUSB0"
    watch = Watch()
    monkeypatch.setattr("agent.acquire.watch._libc", type("NoInotify", (), {"inotify_init1": lambda *_: -1}))
    running(bus_on(node), opener_of(node), watch)
    assert lines.wait(lambda: lines.failed == [0], 5)
    assert watch.fileno() is None
    node.touch()
    assert lines.wait(lambda: len(lines.attached) == 1, BACK_S)


def test_an_adapter_named_by_its_identity_is_followed_to_its_new_name(
    tmp_path: Path, lines: FakeLines, bus_on: Callable, running: Callable
) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    plug_in(kernel, "ttyUSB0")
    bus = bus_on("usb:0403:6001:A50285BI", parity="N")
    run = running(bus, lambda bus: open_port(bus, kernel), Watch(kernel))
    assert lines.wait(lambda: len(lines.attached) == 1, 5)
    assert run.supervisor._slots[0].port.path == str(kernel.dev / "ttyUSB0")
    pull_out(kernel, "ttyUSB0")
    lines.lose()
    plug_in(kernel, "ttyUSB1")
    assert lines.wait(lambda: len(lines.attached) == 2, BACK_S)
    assert run.supervisor._slots[0].port.path == str(kernel.dev / "ttyUSB1")
