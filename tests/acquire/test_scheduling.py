"""The loop's thread is scheduled as asked, or says why not and goes on."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.acquire.bus import Acquisition
from agent.acquire.plan import compile_plan
from agent.acquire.scheduling import Scheduling, hasten

NO_SUCH_CPU = 1000


@pytest.fixture
def thread() -> Iterator[threading.Thread]:
    """A thread that waits."""
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    yield waiting
    done.set()
    waiting.join()


def test_nothing_asked_is_nothing_done(thread: threading.Thread) -> None:
    assert hasten(thread, Scheduling()) == []
    assert os.sched_getscheduler(thread.native_id) == os.SCHED_OTHER


def test_a_thread_is_pinned_and_the_others_are_not(thread: threading.Thread) -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    assert [note.done for note in hasten(thread, Scheduling(cpu=cpu))] == [True]
    assert os.sched_getaffinity(thread.native_id) == {cpu}
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_there_is_told_with_those_that_are(thread: threading.Thread) -> None:
    before = os.sched_getaffinity(thread.native_id)
    (note,) = hasten(thread, Scheduling(cpu=NO_SUCH_CPU))
    assert not note.done
    assert note.remedy.startswith(f"this process may use {min(before)}")
    assert os.sched_getaffinity(thread.native_id) == before


def test_a_priority_is_set_or_refused_with_its_remedy(thread: threading.Thread) -> None:
    (note,) = hasten(thread, Scheduling(priority=5))
    assert note.done == (os.sched_getscheduler(thread.native_id) == os.SCHED_FIFO)
    assert note.done == (os.sched_getparam(thread.native_id).sched_priority == 5)
    assert note.done or "LimitRTPRIO=5" in note.remedy


def test_a_refusal_names_the_line_that_allows_it(thread: threading.Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    (note,) = hasten(thread, Scheduling(priority=5))
    assert str(note) == (
        "loop_priority = 5: runs like every other thread (Operation not permitted); allow it with LimitRTPRIO=5 in the "
        "service's unit, or rtprio in /etc/security/limits.conf"
    )


def test_the_loop_serves_its_buses_pinned_and_the_supervisor_is_left_alone(
    device: Any, bus_on: Callable, config_of: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    bus = bus_on(device.path)
    cpu = min(os.sched_getaffinity(0))
    acquisition = Acquisition((bus,), compile_plan(config_of(bus)), scheduling=Scheduling(cpu=cpu, priority=0))
    acquisition.start()
    try:
        device.wait_for_requests(3)
        threads = [*acquisition._loops.native_threads, *(thread for thread, _ in acquisition._loops._port_threads)]
        loop, supervisor = (thread.native_id or 0 for thread in threads)
        assert os.sched_getaffinity(loop) == {cpu}
        assert os.sched_getaffinity(supervisor) == os.sched_getaffinity(0)
    finally:
        acquisition.stop()


def test_a_thread_that_has_not_started_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        hasten(threading.Thread(), Scheduling())


def test_a_cpu_that_is_not_there_stops_nothing(
    device: Any, bus_on: Callable, config_of: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    bus = bus_on(device.path)
    acquisition = Acquisition((bus,), compile_plan(config_of(bus)), scheduling=Scheduling(cpu=NO_SUCH_CPU))
    acquisition.start()
    try:
        device.wait_for_requests(3)
    finally:
        acquisition.stop()
    assert f"bus loop: loop_cpu = {NO_SUCH_CPU}: runs on any CPU" in caplog.text
