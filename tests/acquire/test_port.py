"""Ports on real ptys, and what open_port() says of things that are no port. Drivers: test_port_drivers.py."""

import errno
import os
import pty
import socket
import stat
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

from agent._native.codec import ASCII, RTU, TCP
from agent.acquire.kernel import Kernel
from agent.acquire.port import Port, Wire, open_port, wire_of
from agent.acquire.terminal import Terminal
from agent.config.model import Bus
from agent.errors import BusError, ExitCode, NotPermittedError

LINUX = Kernel()


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
def open_(line: Pty) -> Iterator[Callable[..., Port]]:
    """Opens the line with some settings, and closes it in the end."""
    ports: list[Port] = []

    def opener(path: str = line.path, **settings) -> Port:
        ports.append(open_port(bus(path, **settings)))
        return ports[-1]

    yield opener
    for port in ports:
        port.close()


def bus(path: str, **settings) -> Bus:
    return Bus(name="b", port=path, timeout_ns=100_000_000, devices=(), **({"parity": "N"} | settings))


def settings_of(fd: int) -> Terminal:
    return Terminal.read(LINUX, fd)


def test_a_port_is_raw_local_and_does_not_hang_up(open_: Callable[..., Port]) -> None:
    now = settings_of(open_().fd)
    assert (now.iflag, now.oflag, now.lflag) == (termios.IGNBRK, 0, 0)
    assert now.cflag & termios.CSIZE == termios.CS8
    assert now.cflag & termios.CLOCAL
    assert now.cflag & termios.CREAD
    assert not now.cflag & (termios.HUPCL | termios.CRTSCTS)


def test_a_port_never_blocks_and_is_not_inherited(open_: Callable[..., Port]) -> None:
    port = open_()
    assert not os.get_blocking(port.fd)
    assert not os.get_inheritable(port.fd)


def leave(line: Pty) -> list:
    """What a program with other tastes leaves behind."""
    left = termios.tcgetattr(line.slave)
    left[0] |= termios.IXON | termios.IXANY | termios.ICRNL
    left[2] |= termios.HUPCL
    left[3] |= termios.ICANON | termios.ECHO
    left[4] = left[5] = termios.B4800
    left[6][termios.VMIN], left[6][termios.VTIME] = 64, 10
    termios.tcsetattr(line.slave, termios.TCSANOW, left)
    return termios.tcgetattr(line.slave)


def test_what_another_program_left_behind_is_overwritten(line: Pty, open_: Callable[..., Port]) -> None:
    leave(line)
    os.write(line.master, b"stale")
    port = open_()
    controls = settings_of(port.fd).controls
    assert (controls[termios.VMIN], controls[termios.VTIME]) == (1, 0)
    with pytest.raises(BlockingIOError):
        os.read(port.fd, 10)
    os.write(line.master, b"x")
    assert os.read(port.fd, 10) == b"x"


def test_closing_puts_everything_back_but_hangs_nobody_up(line: Pty) -> None:
    left = leave(line)
    open_port(bus(line.path)).close()
    after = termios.tcgetattr(line.slave)
    assert left[2] & termios.HUPCL
    left[2] &= ~termios.HUPCL
    assert after == left


@pytest.mark.parametrize("baud", [50, 1200, 9600, 19200, 115200, 250_000, 921_600, 3_000_000, 12_345])
def test_any_baud_rate_is_set_as_a_number(open_: Callable[..., Port], baud: int) -> None:
    assert settings_of(open_(baud=baud).fd).ospeed == baud


@pytest.mark.parametrize("parity", ["N", "E", "O"])
@pytest.mark.parametrize("stop_bits", [1, 2])
def test_a_pty_takes_every_frame_format_also_when_opened_again(line: Pty, parity: str, stop_bits: int) -> None:
    for _ in range(3):
        open_port(bus(line.path, parity=parity, stop_bits=stop_bits)).close()


def test_a_line_that_is_set_already_is_not_set_again(line: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_port(bus(line.path))
    os.close(first.fd)  # as kill -9 would: nothing is put back
    written: list[int] = []
    ioctl = Kernel.ioctl

    def spy(kernel: Kernel, fd: int, request: int, argument: bytes | int = 0) -> bytes:
        written.append(request)
        return ioctl(kernel, fd, request, argument)

    monkeypatch.setattr(Kernel, "ioctl", spy)
    open_port(bus(line.path)).close()
    assert 0x402C542B not in written
    assert 0x802C542A in written


@pytest.mark.parametrize("mode", ["auto", "none"])
def test_an_adapter_without_an_rs485_call_is_fine_unless_the_kernel_must_do_it(
    open_: Callable[..., Port], mode: str
) -> None:
    assert [note.done for note in open_(rs485=mode).notes if note.what == "rs485"] == [False]


def test_kernel_rs485_on_an_adapter_without_it_is_refused_with_a_remedy(line: Pty) -> None:
    with pytest.raises(BusError, match=f'{line.path}: asked for rs485 = "kernel", .*; use rs485 = "auto"'):
        open_port(bus(line.path, rs485="kernel"))


def test_a_port_is_open_once_at_a_time(line: Pty, open_: Callable[..., Port]) -> None:
    first = open_port(bus(line.path))
    with pytest.raises(BusError, match=f"{line.path} is in use by another bus of this agent"):
        open_()
    first.close()
    open_()


# --- what is no port ---


def test_a_missing_port_is_named(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="ttyX: No such file"):
        open_port(bus(str(tmp_path / "ttyX")))


@pytest.mark.parametrize(
    "kind", ["file", "folder", "fifo", "socket", "link to nowhere", "link to itself", "/dev/null", "/dev/zero"]
)
def test_what_is_no_serial_port_is_called_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it" if not kind.startswith("/") else Path(kind)
    match kind:
        case "file":
            path.touch()
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        case "link to nowhere":
            path.symlink_to("/nowhere")
        case "link to itself":
            path.symlink_to(path)
    words = {
        "socket": "No such device or address",
        "link to nowhere": "No such file",
        "link to itself": "Too many",
    }.get(kind, "is no serial port")
    before = open_files()
    with pytest.raises(BusError, match=f"^{path}.*{words}") as error:
        open_port(bus(str(path)))
    assert error.value.exit_code == ExitCode.UNAVAILABLE
    assert open_files() == before


def test_without_permission_the_remedy_is_a_command(line: Pty) -> None:
    class Refusing(Kernel):
        def open(self, path: str) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(
        NotPermittedError, match=rf"{line.path}: no permission; .*sudo usermod -aG \w+ \$USER"
    ) as refusal:
        open_port(bus(line.path), Refusing())
    assert refusal.value.exit_code == ExitCode.PERMISSION


def test_a_port_whose_master_goes_while_it_is_opened_was_unplugged() -> None:
    line = Pty()
    os.close(line.slave)

    class Vanishing(Kernel):
        def open(self, path: str) -> int:
            fd = super().open(path)
            os.close(line.master)
            return fd

    before = open_files()
    with pytest.raises(BusError, match=f"{line.path}: unplugged while it was being opened"):
        open_port(bus(line.path), Vanishing())
    assert open_files() == before - 1  # the master


# --- TCP ---


def test_a_tcp_port_is_a_non_blocking_connection(open_: Callable[..., Port]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = open_(f"tcp://127.0.0.1:{server.getsockname()[1]}", protocol="modbus-tcp")
        accepted, _ = server.accept()
        with accepted:
            with pytest.raises(BlockingIOError):
                os.read(port.fd, 1)
            os.write(port.fd, b"x")
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
        ({"baud": 9600, "protocol": "modbus-ascii", "data_bits": 7, "parity": "E"}, Wire(ASCII, 1_041_666, 3_645_831)),
        ({"baud": 9600, "gap": "learned"}, Wire(False, 1_041_666, 3_645_831, 0, 2 * 1_041_666)),
        ({"baud": 9600, "switch_ns": 9_000_000}, Wire(False, 1_041_666, 3_645_831, 9_000_000)),
        ({"port": "tcp://h:502", "protocol": "modbus-tcp"}, Wire(True, 0, 0)),
        ({"port": "udp://h", "protocol": "modbus-tcp"}, Wire(TCP, 0, 0)),
        ({"port": "rtu+udp://h:9", "protocol": "modbus-rtu"}, Wire(RTU, 0, 0)),
        ({"port": "ascii+tcp://h:9", "protocol": "modbus-ascii"}, Wire(ASCII, 0, 0)),
        ({"port": "rtu+tcp://h:502", "protocol": "modbus-rtu"}, Wire(False, 0, 0)),
    ],
    ids=str,
)
def test_the_wire_has_the_times_of_the_standard(settings: dict, wire: Wire) -> None:
    assert wire_of(bus(settings.pop("port", "/dev/x"), **settings)) == wire


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_failed_open_leaves_no_file_descriptor_behind(line: Pty) -> None:
    before = open_files()
    with pytest.raises(BusError):
        open_port(bus(line.path, rs485="kernel"))
    assert open_files() == before


def test_pyserial_and_fieldtap_keep_each_other_out(line: Pty, open_: Callable[..., Port]) -> None:
    other = serial.Serial(line.path, exclusive=True)
    with pytest.raises(BusError, match=f"{line.path} is in use"):
        open_()
    other.close()
    open_()
    with pytest.raises(serial.SerialException, match="exclusively lock"):
        serial.Serial(line.path, exclusive=True)
