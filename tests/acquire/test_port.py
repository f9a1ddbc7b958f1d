import errno
import fcntl
import os
import pty
import socket
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial.tools.list_ports

from agent.acquire import port as port_module
from agent.acquire.port import TCGETS2, TERMIOS2, Wire, open_port, wire_of
from agent.config.model import Bus
from agent.errors import BusError, ExitCode, NotPermittedError


class Pty:
    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.path = os.ttyname(self.slave)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def line() -> Iterator[Pty]:
    made = Pty()
    yield made
    made.close()


@pytest.fixture
def opened() -> Iterator[list[int]]:
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def bus(path: str, **settings) -> Bus:
    return Bus(name="b", port=path, timeout_ns=100_000_000, devices=(), **({"parity": "N"} | settings))


def settings_of(fd: int) -> tuple[int, int, int, int, bytes, int]:
    iflag, oflag, cflag, lflag, _, control, _, speed = TERMIOS2.unpack(fcntl.ioctl(fd, TCGETS2, bytes(TERMIOS2.size)))
    return iflag, oflag, cflag, lflag, control, speed


def test_a_port_is_raw_local_and_does_not_hang_up(line: Pty, opened: list[int]) -> None:
    opened.append(open_port(bus(line.path)))
    iflag, oflag, cflag, lflag, _, _ = settings_of(opened[0])
    assert (iflag, oflag, lflag) == (termios.IGNBRK, 0, 0)
    assert cflag & termios.CSIZE == termios.CS8
    assert cflag & termios.CLOCAL
    assert cflag & termios.CREAD
    assert not cflag & (termios.HUPCL | termios.CRTSCTS)


def test_a_port_never_blocks_and_is_not_inherited(line: Pty, opened: list[int]) -> None:
    opened.append(open_port(bus(line.path)))
    assert not os.get_blocking(opened[0])
    assert not os.get_inheritable(opened[0])


def test_what_another_program_left_behind_is_overwritten(line: Pty, opened: list[int]) -> None:
    left = termios.tcgetattr(line.slave)
    left[3] |= termios.ICANON | termios.ECHO
    left[6][termios.VMIN], left[6][termios.VTIME] = 64, 10
    termios.tcsetattr(line.slave, termios.TCSANOW, left)
    os.write(line.master, b"stale")
    opened.append(open_port(bus(line.path)))
    control = settings_of(opened[0])[4]
    assert (control[termios.VMIN], control[termios.VTIME]) == (1, 0)
    with pytest.raises(BlockingIOError):
        os.read(opened[0], 10)
    os.write(line.master, b"x")
    assert os.read(opened[0], 10) == b"x"


@pytest.mark.parametrize("baud", [50, 1200, 9600, 19200, 115200, 250_000, 921_600, 3_000_000, 12_345])
def test_any_baud_rate_is_set_as_a_number(line: Pty, opened: list[int], baud: int) -> None:
    opened.append(open_port(bus(line.path, baud=baud)))
    assert settings_of(opened[0])[5] == baud


@pytest.mark.parametrize("parity", ["N", "E", "O"])
@pytest.mark.parametrize("stop_bits", [1, 2])
def test_a_pty_takes_every_frame_format_also_when_opened_again(line: Pty, parity: str, stop_bits: int) -> None:
    for _ in range(3):
        os.close(open_port(bus(line.path, parity=parity, stop_bits=stop_bits)))


@pytest.mark.parametrize(
    ("parity", "stop_bits", "flags"),
    [
        ("N", 1, 0),
        ("N", 2, termios.CSTOPB),
        ("E", 1, termios.PARENB),
        ("O", 2, termios.PARENB | termios.PARODD | termios.CSTOPB),
    ],
)
def test_parity_and_stop_bits_reach_the_driver(
    line: Pty, opened: list[int], monkeypatch: pytest.MonkeyPatch, *, parity: str, stop_bits: int, flags: int
) -> None:
    asked = []
    ioctl = fcntl.ioctl

    def spy(fd: int, request: int, argument: bytes) -> bytes:
        if request == port_module.TCSETS2:
            asked.append(TERMIOS2.unpack(argument)[2])
        return ioctl(fd, request, argument)

    monkeypatch.setattr(port_module.fcntl, "ioctl", spy)
    opened.append(open_port(bus(line.path, parity=parity, stop_bits=stop_bits)))
    assert [each & (termios.PARENB | termios.PARODD | termios.CSTOPB) for each in asked] == [flags]


def driver(monkeypatch: pytest.MonkeyPatch, *, speed: int | None = None, flags: int | None = None) -> None:
    """A driver that sets something else than it was asked for."""
    ioctl = fcntl.ioctl

    def altered(fd: int, request: int, argument: bytes) -> bytes:
        result = ioctl(fd, request, argument)
        if request != TCGETS2:
            return result
        fields = list(TERMIOS2.unpack(result))
        fields[7] = fields[7] if speed is None else speed
        fields[2] = fields[2] if flags is None else flags
        return TERMIOS2.pack(*fields)

    monkeypatch.setattr(port_module.fcntl, "ioctl", altered)


def test_a_baud_rate_that_the_driver_misses_by_more_than_two_percent_is_refused(
    line: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(monkeypatch, speed=112_500)
    with pytest.raises(BusError, match="112500 baud of 115200"):
        open_port(bus(line.path, baud=115_200))


def test_a_baud_rate_within_two_percent_is_good_enough(
    line: Pty, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(monkeypatch, speed=117_000)
    opened.append(open_port(bus(line.path, baud=115_200)))


def test_a_real_port_that_cannot_do_the_parity_is_refused(line: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_module, "_is_pty", lambda _: False)
    driver(monkeypatch, flags=0)
    with pytest.raises(BusError, match="parity E"):
        open_port(bus(line.path, parity="E"))


def test_a_port_is_open_once_at_a_time_and_the_second_is_told_how_to_find_the_first(
    line: Pty, opened: list[int]
) -> None:
    opened.append(open_port(bus(line.path)))
    with pytest.raises(BusError, match=f"in use by another program; `fuser -v {line.path}`"):
        open_port(bus(line.path))
    os.close(opened.pop())
    opened.append(open_port(bus(line.path)))


def test_a_missing_port_is_named(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="ttyX: No such file"):
        open_port(bus(str(tmp_path / "ttyX")))


def test_a_file_is_no_serial_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BusError, match="is no serial port"):
        open_port(bus(str(tmp_path / "file")))
    with pytest.raises(BusError, match="is no serial port"):
        open_port(bus("/dev/null"))


def test_without_permission_the_remedy_is_a_command(line: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(port_module.os, "open", refused)
    with pytest.raises(NotPermittedError, match=r"sudo usermod -aG \w+ \$USER") as refusal:
        open_port(bus(line.path))
    assert refusal.value.exit_code == ExitCode.PERMISSION


def test_a_port_that_its_owner_marked_exclusive_is_in_use(line: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(port_module.os, "open", busy)
    with pytest.raises(BusError, match="in use"):
        open_port(bus(line.path))


@pytest.mark.parametrize("mode", ["auto", "none"])
def test_an_adapter_without_an_rs485_call_is_fine_unless_the_kernel_must_do_it(
    line: Pty, opened: list[int], mode: str
) -> None:
    opened.append(open_port(bus(line.path, rs485=mode)))


def test_kernel_rs485_on_an_adapter_without_it_is_refused_with_a_remedy(line: Pty) -> None:
    with pytest.raises(BusError, match='use rs485 = "auto"'):
        open_port(bus(line.path, rs485="kernel"))


@pytest.mark.parametrize(("mode", "flags"), [("auto", 3), ("kernel", 3), ("none", 0)])
def test_the_kernel_drives_the_direction_pin_where_it_can(
    line: Pty, opened: list[int], monkeypatch: pytest.MonkeyPatch, mode: str, flags: int
) -> None:
    asked = []
    ioctl = fcntl.ioctl

    def spy(fd: int, request: int, argument: bytes) -> bytes:
        if request == port_module.TIOCSRS485:
            asked.append(struct.unpack_from("=3I", argument))
            return argument
        return ioctl(fd, request, argument)

    monkeypatch.setattr(port_module.fcntl, "ioctl", spy)
    opened.append(open_port(bus(line.path, rs485=mode)))
    assert asked == [(flags, 0, 0)]


def test_low_latency_is_asked_for_where_the_driver_has_it(
    line: Pty, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ioctl = fcntl.ioctl

    def spy(fd: int, request: int, argument: bytes) -> bytes:
        if request == port_module.TIOCGSERIAL:
            return argument
        if request == port_module.TIOCSSERIAL:
            asked.append(struct.unpack_from("=i", argument, 16)[0])
            return argument
        return ioctl(fd, request, argument)

    monkeypatch.setattr(port_module.fcntl, "ioctl", spy)
    opened.append(open_port(bus(line.path)))
    assert asked == [port_module.ASYNC_LOW_LATENCY]


def adapters(path: str) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(vid=None, pid=None, serial_number=None, device="/dev/ttyS0"),
        SimpleNamespace(vid=0x0403, pid=0x6001, serial_number="OTHER", device="/dev/missing"),
        SimpleNamespace(vid=0x0403, pid=0x6001, serial_number="A50285BI", device=path),
    ]


def test_a_usb_adapter_is_found_by_its_identity(line: Pty, opened: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial.tools.list_ports, "comports", lambda: adapters(line.path))
    opened.append(open_port(bus("usb:0403:6001:a50285bi")))
    assert os.ttyname(opened[0]) == line.path


@pytest.mark.parametrize("port", ["usb:0403:6001:NONE", "usb:1a86:7523"])
def test_a_usb_adapter_that_is_not_plugged_in_is_named(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial.tools.list_ports, "comports", lambda: adapters("/dev/x"))
    with pytest.raises(BusError, match=f"{port}: no such USB adapter"):
        open_port(bus(port))


def test_a_tcp_port_is_a_non_blocking_connection(opened: list[int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened.append(open_port(bus(f"tcp://127.0.0.1:{server.getsockname()[1]}", protocol="modbus-tcp")))
        accepted, _ = server.accept()
        with accepted:
            with pytest.raises(BlockingIOError):
                os.read(opened[0], 1)
            os.write(opened[0], b"x")
            assert accepted.recv(1) == b"x"


def test_a_tcp_port_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(BusError, match=f"tcp://127.0.0.1:{port}: cannot connect: Connection refused"):
        open_port(bus(f"tcp://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("settings", "wire"),
    [
        ({"baud": 9600}, Wire(False, 1_041_666, 3_645_831)),
        ({"baud": 19200, "parity": "E"}, Wire(False, 572_916, 2_005_206)),
        ({"baud": 115200, "parity": "E"}, Wire(False, 95_486, 1_750_000)),
        ({"port": "tcp://h:502", "protocol": "modbus-tcp"}, Wire(True, 0, 0)),
        ({"port": "rtu+tcp://h:502", "protocol": "modbus-rtu"}, Wire(False, 0, 0)),
    ],
    ids=str,
)
def test_the_wire_has_the_times_of_the_standard(settings: dict, wire: Wire) -> None:
    assert wire_of(bus(settings.pop("port", "/dev/x"), **settings)) == wire


def test_a_failed_open_leaves_no_file_descriptor_behind(line: Pty) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BusError):
        open_port(bus(line.path, rs485="kernel"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
