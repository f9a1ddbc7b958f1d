"""The native loops on real ports: what ends, and what trickles in, keeps none of them awake."""

import os
import pty
import select
import socket
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import bus_rig
import links
import pytest
from bus_rig import MS, S
from wire import with_crc

from agent._native.busloop import BusLoop
from agent._native.linkloop import LinkLoop

WAIT_S = 60  # for what happens at once on a machine that is not loaded
REST_S = 0.2  # a loop that turns without a pause makes ten thousands of calls in that time
FEW_CALLS = 200
WRITE = with_crc(struct.pack(">BBHH", 1, 6, 500, 1))


class Ends(NamedTuple):
    """The loop's end of a port, and how the device's ends it."""

    fd: int
    end: Callable[[], None]


def half_closed(stack: ExitStack) -> Ends:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stack.enter_context(theirs)
    return Ends(ours.detach(), lambda: theirs.shutdown(socket.SHUT_WR))


def closed(stack: ExitStack) -> Ends:
    fd, _ = half_closed(stack)
    return Ends(fd, stack.close)


def reset(stack: ExitStack) -> Ends:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setblocking(False)
    stack.enter_context(theirs)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return Ends(ours.detach(), theirs.close)


def hung_up(_: ExitStack) -> Ends:
    device, port = pty.openpty()
    tty.setraw(port)
    os.set_blocking(port, False)
    return Ends(port, lambda: os.close(device))


Port = Callable[[ExitStack], Ends]


@contextmanager
def running(loop: BusLoop | LinkLoop) -> Iterator[None]:
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as devices:
        yield devices


@pytest.fixture
def bell() -> Iterator[int]:
    made = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    yield made
    os.close(made)


def is_rung(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


def rests(loop: BusLoop | LinkLoop, silent: int) -> bool:
    """Whether the loop makes next to no calls while the bell stays silent."""
    before = sum(loop.calls())
    return not is_rung(silent, REST_S) and sum(loop.calls()) - before < FEW_CALLS


@pytest.mark.parametrize("port", [half_closed, closed, reset, hung_up])
def test_a_line_whose_port_ended_rests_until_there_is_another(port: Port, bell: int, stack: ExitStack) -> None:
    loop = BusLoop([(False, bus_rig.CHAR_NS, bus_rig.QUIET_NS, 0, 0, 10)])
    loop.adopt(0, *bus_rig.plan_of([bus_rig.Poll(period=10 * S)]))
    ends = port(stack)
    with running(loop):
        loop.attach(0, ends.fd)
        ends.end()
        assert is_rung(loop.supervisor_fileno(), WAIT_S)
        assert rests(loop, bell)
        assert (loop.take_lost(0) or (0,))[0] == ends.fd
        assert loop.take_lost(0) is None
    os.close(ends.fd)


@pytest.mark.parametrize("port", [half_closed, closed, reset])
def test_a_link_whose_connection_ended_rests_until_there_is_another(port: Port, bell: int, stack: ExitStack) -> None:
    lost = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    loop = LinkLoop([(4, 0, 10)], bell, lost, bell)
    loop.adopt(0, *links.plan_of([links.Poll(period=10 * S)]))
    ends = port(stack)
    with running(loop):
        loop.attach(0, ends.fd)
        ends.end()
        assert is_rung(lost, WAIT_S)
        if is_rung(bell, 0):
            os.eventfd_read(bell)  # its tags have failed
        assert rests(loop, bell)
        assert (loop.take_lost(0) or (0,))[0] == ends.fd
    os.close(ends.fd)
    os.close(lost)


def test_a_link_that_is_silent_rests(bell: int, stack: ExitStack) -> None:
    loop = LinkLoop([(4, 0, 10)], bell, bell, bell)
    loop.adopt(0, *links.plan_of([links.Poll(period=S, timeout=10 * S), links.Poll(unit=2, phase=5 * S)]))
    ends = half_closed(stack)
    with running(loop):
        loop.attach(0, ends.fd)
        assert rests(loop, bell)
    os.close(ends.fd)


def test_the_bell_of_errands_rings_once_for_those_that_are_done() -> None:
    loop = BusLoop([(False, bus_rig.CHAR_NS, bus_rig.QUIET_NS, 0, 0, 10)])
    loop.adopt(0, *bus_rig.plan_of([bus_rig.Poll(period=MS)]))
    bell = loop.errand_fileno()
    with running(loop):
        for _ in range(3):
            assert loop.offer(0, WRITE, len(WRITE), S, 0) == 0
            assert is_rung(bell, WAIT_S)
            os.eventfd_read(bell)
            while loop.take(0, 0) is None:
                pass
            loop.fail(0)  # whatever else the loop has to do
            assert not is_rung(bell, REST_S)
