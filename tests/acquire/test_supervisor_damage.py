"""What a supervisor finds wrong with a line, and what it says and does about it."""

import errno
import logging
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers import FakeKernel
from ports import FakeLines, FakeWatch, step

from agent.acquire.chronicle import Chronicle
from agent.acquire.diagnosis import Uart
from agent.acquire.events import Kind
from agent.acquire.port import open_port
from agent.acquire.supervisor import (
    Supervisor,
)
from agent.config.model import Bus


class Examined:
    """A supervisor with one port of some driver, open, and a clock that stands at its next look."""

    def __init__(self, lines: FakeLines, kernel: FakeKernel, bus: Bus) -> None:
        self.lines = lines
        self.kernel = kernel
        self.supervisor = Supervisor(
            lines, [bus], Chronicle(), lambda bus: open_port(bus, kernel), FakeWatch(able=True)
        )
        step(self.supervisor)
        self.supervisor._examine_all()

    def look(self, uart: dict[int, int] | None = None, **counts: int) -> str | None:
        """What it finds after so much more was counted."""
        for name, more in counts.items():
            self.lines.counts[name] += more
        for field, more in (uart or {}).items():
            self.kernel.icount[field] += more
        self.supervisor._examine_all()
        finding = self.supervisor.finding(0)
        return finding.cause if finding else None


RECEIVED, FRAMING = 4, 6


@pytest.fixture
def examine(tmp_path: Path, lines: FakeLines, bus_on: Callable) -> Callable[..., Examined]:
    def make(driver: str, **settings: str) -> Examined:
        kernel = FakeKernel(tmp_path, driver)
        return Examined(lines, kernel, bus_on(kernel.path, parity="N", **settings))

    return make


def test_a_noisy_line_is_told_once_and_again_when_it_is_good(
    examine: Callable[..., Examined], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    examined = examine("8250")
    caplog.clear()
    for _ in range(3):
        assert examined.look({RECEIVED: 900, FRAMING: 2}, transactions=100, crc_errors=4) == "noise"
    assert examined.look({RECEIVED: 900}, transactions=3000) is None
    assert [(record.levelname, record.getMessage().partition(":")[2][:30]) for record in caplog.records] == [
        ("WARNING", " damaged answers: 2 of 900 cha"),
        ("INFO", " answers arrive intact again"),
    ]


def replug(examined: Examined) -> None:
    """The same port, lost and opened anew; its driver counts from 0 again."""
    examined.lines.lost.append((0, 5))
    step(examined.supervisor)
    examined.kernel.icount = [0] * len(examined.kernel.icount)
    examined.supervisor._slots[0].retry_at_ns = 0
    step(examined.supervisor)


def test_everything_that_happens_to_a_port_and_its_line_is_in_the_chronicle(examine: Callable[..., Examined]) -> None:
    examined = examine("8250")
    examined.look({RECEIVED: 900, FRAMING: 2}, transactions=100, crc_errors=4)
    replug(examined)
    examined.supervisor._examine_all()
    examined.look({RECEIVED: 900}, transactions=3000)
    told = examined.supervisor._chronicle.since(0)
    assert [event.kind for event in told] == [
        Kind.PORT_UP,
        Kind.DAMAGE_BEGAN,
        Kind.PORT_DOWN,
        Kind.PORT_UP,
        Kind.DAMAGE_OVER,
    ]
    assert {event.bus for event in told} == {examined.supervisor._slots[0].bus.name}


def test_what_the_driver_counts_is_summed_up_over_wraps_and_replugged_ports(examine: Callable[..., Examined]) -> None:
    examined = examine("8250")
    assert examined.supervisor.uart(0) == Uart(0, 0, 0, 0, 0)
    examined.look({RECEIVED: 2**31 - 1, FRAMING: 2})
    examined.kernel.icount[RECEIVED] = -(2**31)  # the kernel's counter is an int, and overflows
    examined.look({RECEIVED: 10})
    assert examined.supervisor.uart(0) == Uart(2**31 + 10, 2, 0, 0, 0)
    replug(examined)
    examined.look({RECEIVED: 5})
    assert examined.supervisor.uart(0) == Uart(2**31 + 15, 2, 0, 0, 0)


def test_a_driver_that_counts_nothing_gives_no_numbers(examine: Callable[..., Examined]) -> None:
    examined = examine("ch341")
    examined.look(transactions=10)
    assert examined.supervisor.uart(0) is None


def test_another_reader_of_the_port_is_named(
    examine: Callable[..., Examined], caplog: pytest.LogCaptureFixture
) -> None:
    examined = examine("8250")
    (examined.kernel.proc / "99" / "fd").mkdir(parents=True)
    (examined.kernel.proc / "99" / "comm").write_text("agetty\n")
    (examined.kernel.proc / "99" / "fd" / "0").symlink_to(examined.kernel.path)
    examined.look(transactions=100, crc_errors=4)
    assert f"{examined.kernel.path} is also read by agetty (pid 99), end it" in caplog.text


@pytest.mark.parametrize(
    ("driver", "mode", "marking"),
    [
        ("ch341", "auto", [False, True]),  # counts nothing
        ("cp210x", "auto", [False, True]),  # counts only while it marks
        ("ch341", "off", [False]),
        ("ch341", "on", [True]),
    ],
)
def test_damaged_characters_are_marked_where_the_driver_does_not_count_them(
    examine: Callable[..., Examined], lines: FakeLines, driver: str, mode: str, marking: list[bool]
) -> None:
    examined = examine(driver, mark_errors=mode)
    for _ in range(3):
        examined.look(transactions=100, crc_errors=4)
    assert lines.marking == marking
    assert bool(examined.kernel.terminal.iflag & termios.PARMRK) == marking[-1]


def test_on_a_line_of_ascii_none_is_marked_for_each_spoils_its_frame(
    examine: Callable[..., Examined], lines: FakeLines
) -> None:
    examined = examine("ch341", mark_errors="on", protocol="modbus-ascii")
    for _ in range(3):
        examined.look(transactions=100, crc_errors=4)
    assert lines.marking == []
    assert examined.kernel.terminal.iflag & termios.INPCK


def test_what_was_marked_is_found(examine: Callable[..., Examined], lines: FakeLines) -> None:
    examined = examine("ch341")
    assert examined.look(transactions=100, crc_errors=4) == "unseen"
    lines.marked = (900, 5, 0)
    assert examined.look(transactions=100, crc_errors=4) == "noise"


def test_a_port_that_was_marked_on_demand_is_marked_again_when_it_comes_back(
    examine: Callable[..., Examined], lines: FakeLines
) -> None:
    examined = examine("ch341", mark_errors="on")
    replug(examined)
    assert lines.marking == [True, True]
    assert examined.kernel.terminal.iflag & termios.PARMRK


def test_a_driver_that_cannot_mark_is_left_alone(examine: Callable[..., Examined], lines: FakeLines) -> None:
    examined = examine("ch341")
    examined.kernel.fails = {"TCSETS2": errno.EINVAL}
    examined.look(transactions=100, crc_errors=4)
    assert lines.marking == [False, True, False]
    assert examined.look(transactions=100, crc_errors=4) == "unseen"
    assert lines.marking == [False, True, False]
