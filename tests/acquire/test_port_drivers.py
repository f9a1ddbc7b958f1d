"""What open_port() makes of each driver's ways, refusals included: drivers.toml says what they do."""

import errno
import grp
import os
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest
from drivers import COOKED, DRIVERS, FakeKernel
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.acquire import rs485
from agent.acquire.latency import ASYNC_LOW_LATENCY
from agent.acquire.port import Port, open_port
from agent.acquire.terminal import MARKING
from agent.config.model import Bus
from agent.errors import BusError, NotPermittedError

# What a port can do without; the two that make it a serial port, TCGETS2 and TCSETS2, it cannot.
OPTIONAL = (
    "flock", "TIOCGEXCL", "TIOCEXCL", "TIOCGRS485", "TIOCSRS485", "TIOCGSERIAL", "TIOCSSERIAL", "TCFLSH", "TIOCGICOUNT",
)  # fmt: skip
ERRNOS = (errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


def bus(kernel: FakeKernel, **wanted) -> Bus:
    return Bus(name="b", port=kernel.path, timeout_ns=1, devices=(), **({"parity": "N", "baud": 9600} | wanted))


def opened(kernel: FakeKernel, **wanted) -> Port:
    return open_port(bus(kernel, **wanted), kernel)


def told(port: Port) -> dict[str, bool]:
    return {note.what: note.done for note in port.notes}


def as_found(kernel: FakeKernel) -> bool:
    """Whether the terminal is as it was, but for hanging up when it is closed."""
    now = kernel.terminal
    same_speed = abs(now.ospeed - COOKED.ospeed) < 0.02 * COOKED.ospeed  # as near as the driver comes to it
    return same_speed and now._replace(ospeed=9600, ispeed=9600) == COOKED._replace(cflag=COOKED.cflag & ~termios.HUPCL)


# --- every driver ---


@pytest.mark.parametrize(
    ("driver", "notes"),
    [
        ("ftdi_sio", {"rs485": False, "latency timer": True}),
        ("cp210x", {"rs485": False, "low latency": False}),
        ("ch341", {"rs485": False, "low latency": False}),
        ("8250", {"rs485": False, "low latency": True, "receive FIFO": True}),
        ("pl011", {"rs485": True, "low latency": True}),
        ("imx_which_hears_itself", {"rs485": True, "low latency": True}),
        ("rs485_that_takes_the_call_and_does_nothing", {"rs485": False, "low latency": False}),
        ("pty", {"rs485": False, "low latency": False}),
    ],
)
def test_each_driver_is_asked_for_all_and_what_it_granted_is_told(
    tmp_path: Path, driver: str, notes: dict[str, bool]
) -> None:
    assert told(opened(FakeKernel(tmp_path, driver))) == notes


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_port_is_left_as_it_was_found_but_for_hanging_up(tmp_path: Path, driver: str) -> None:
    kernel = FakeKernel(tmp_path, driver)
    opened(kernel).close()
    assert as_found(kernel)
    assert (kernel.closed, kernel.exclusive) == (1, False)


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_call_moves_a_modem_line(tmp_path: Path, driver: str) -> None:
    kernel = FakeKernel(tmp_path, driver)
    port = opened(kernel)
    assert not kernel.terminal.cflag & (termios.HUPCL | termios.CRTSCTS)
    port.close()
    assert not [call for call in kernel.calls if "TIOCM" in call]
    assert not kernel.terminal.cflag & termios.HUPCL


@settings(max_examples=200)
@given(
    driver=st.sampled_from(sorted(DRIVERS)),
    fails=st.dictionaries(st.sampled_from(OPTIONAL), st.sampled_from(ERRNOS)),
    mode=st.sampled_from(["auto", "none"]),
)
def test_whatever_the_driver_refuses_the_port_opens_and_the_refusal_is_told(
    tmp_path_factory: pytest.TempPathFactory, driver: str, fails: dict[str, int], mode: str
) -> None:
    kernel = FakeKernel(tmp_path_factory.mktemp("root"), driver)
    kernel.fails = fails
    port = opened(kernel, rs485=mode)
    refusals = {note.text for note in port.notes if not note.done}
    for call in set(fails) & set(kernel.calls) - {"TCFLSH"}:
        assert any(os.strerror(fails[call]) in text for text in refusals) or "TIMER" in call, (call, port.notes)
    port.close()
    assert kernel.closed == 1


@pytest.mark.parametrize("call", ["TCGETS2", "TCSETS2"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EIO, "unplugged while it was being opened"),
        (errno.ENODEV, "unplugged while it was being opened"),
        (errno.EPERM, "the driver refuses these settings: Operation not permitted"),
    ],
)
def test_a_port_that_ends_between_open_and_its_settings_is_closed_and_named(
    tmp_path: Path, call: str, code: int, words: str
) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    kernel.fails = {call: code}
    with pytest.raises(BusError, match=f"{kernel.path}: {words}"):
        opened(kernel)
    assert kernel.closed == 1


def test_a_port_that_was_found_hung_up_is_not_hung_up_again(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    kernel.terminal = COOKED._replace(ospeed=0)  # B0 drops DTR and RTS
    opened(kernel).close()
    assert kernel.terminal.ospeed == 9615


def test_an_unplugged_port_closes_without_a_word(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    port = opened(kernel)
    kernel.fails = dict.fromkeys(["TCGETS2", "TCSETS2", "TIOCNXCL"], errno.EIO)
    port.close()
    assert kernel.closed == 1


# --- rates and formats ---


@pytest.mark.parametrize(
    ("driver", "baud", "made"),
    [
        ("8250", 115_200, 115_200),
        ("8250", 57_600, 57_600),
        ("8250", 250_000, 115_200),
        ("8250", 76_800, 57_600),
        ("8250", 14_400, 14_400),
        ("pl011", 115_200, 115_384),
        ("ftdi_sio", 921_600, 1_000_000),
        ("ftdi_sio", 250_000, 250_000),
        ("ch341", 12_345, 12_345),
    ],
)
def test_a_rate_more_than_two_percent_off_is_refused_and_never_replaced(
    tmp_path: Path, driver: str, baud: int, made: int
) -> None:
    kernel = FakeKernel(tmp_path, driver)
    if abs(made - baud) <= 0.02 * baud:
        opened(kernel, baud=baud)
        assert kernel.terminal.ospeed == made
        return
    with pytest.raises(BusError, match=f"{kernel.path}: asked for {baud} baud, its driver makes {made}; set baud to"):
        opened(kernel, baud=baud)
    assert kernel.closed == 1
    assert as_found(kernel)
    assert not kernel.exclusive


@pytest.mark.parametrize("parity", ["N", "E", "O"])
@pytest.mark.parametrize("stop_bits", [1, 2])
def test_parity_and_stop_bits_reach_the_driver(tmp_path: Path, parity: str, stop_bits: int) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    opened(kernel, parity=parity, stop_bits=stop_bits)
    flags = {"N": 0, "E": termios.PARENB, "O": termios.PARENB | termios.PARODD}[parity]
    flags |= termios.CSTOPB if stop_bits == 2 else 0
    assert kernel.terminal.cflag & (termios.PARENB | termios.PARODD | termios.CSTOPB) == flags


def test_a_wired_port_that_cannot_do_the_parity_is_refused(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "ch341")
    kernel.does = kernel.does | {"no_parity": True}
    with pytest.raises(BusError, match=f"{kernel.path}: asked for 8E1, its driver makes 8N1; set parity and stop_bits"):
        opened(kernel, parity="E")


@pytest.mark.parametrize(("data_bits", "size"), [(7, termios.CS7), (8, termios.CS8)])
def test_on_a_line_of_ascii_damaged_characters_are_read_as_no_digit(tmp_path: Path, data_bits: int, size: int) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    opened(kernel, protocol="modbus-ascii", data_bits=data_bits)
    assert kernel.terminal.cflag & termios.CSIZE == size
    assert kernel.terminal.iflag == termios.IGNBRK | termios.INPCK


def test_marking_damaged_characters_changes_nothing_else(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "ch341")
    port = opened(kernel)
    before = kernel.terminal
    port.mark(on=True)
    assert kernel.terminal == before._replace(iflag=MARKING, cflag=kernel.terminal.cflag)
    port.mark(on=False)
    assert kernel.terminal == before


# --- RS-485 ---


@pytest.mark.parametrize(
    ("found", "delays", "made"),
    [
        (0, (0, 0), rs485.ENABLED | rs485.RTS_ON_SEND),
        (rs485.RTS_AFTER_SEND, (0, 0), rs485.ENABLED | rs485.RTS_AFTER_SEND),
        (rs485.POLARITY, (0, 0), rs485.ENABLED | rs485.RTS_ON_SEND),
        (rs485.ENABLED | rs485.RTS_AFTER_SEND | rs485.RX_DURING_TX, (1, 2), rs485.ENABLED | rs485.RTS_AFTER_SEND),
        (rs485.TERMINATE_BUS, (0, 0), rs485.ENABLED | rs485.RTS_ON_SEND | rs485.TERMINATE_BUS),
    ],
)
def test_the_kernel_drives_one_direction_level_as_the_board_says(
    tmp_path: Path, found: int, delays: tuple[int, int], made: int
) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    kernel.rs485 = (found, *delays)
    opened(kernel, rs485="kernel")
    assert kernel.rs485 == (made, *delays)


def test_a_direction_pin_that_is_driven_already_is_left_alone_and_stays_so_at_the_end(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    kernel.rs485 = (rs485.ENABLED | rs485.RTS_ON_SEND, 0, 0)
    opened(kernel).close()
    assert "TIOCSRS485" not in kernel.calls
    assert kernel.rs485[0] & rs485.ENABLED


def test_none_takes_the_direction_pin_from_the_kernel(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    kernel.rs485 = (rs485.ENABLED | rs485.RTS_ON_SEND, 0, 0)
    opened(kernel, rs485="none")
    assert kernel.rs485 == (0, 0, 0)


def test_a_driver_that_takes_the_call_and_does_nothing_is_found_out(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "rs485_that_takes_the_call_and_does_nothing")
    with pytest.raises(BusError, match=r'asked its driver for flags 0x03, it made 0x00; use rs485 = "auto"'):
        opened(kernel, rs485="kernel")
    assert kernel.rs485 == (0, 0, 0)
    port = opened(kernel)
    assert "left to the adapter" in str(port.notes[0])


def test_a_driver_that_keeps_the_polarity_and_not_the_mode_is_found_out(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    kernel.does = kernel.does | {"rs485": rs485.RTS_ON_SEND}
    with pytest.raises(BusError, match=r"asked its driver for flags 0x03, it made 0x02"):
        opened(kernel, rs485="kernel")


def test_a_port_that_hears_itself_is_told(tmp_path: Path) -> None:
    notes = opened(FakeKernel(tmp_path, "imx_which_hears_itself"), rs485="kernel").notes
    assert "hears what it sends" in str(notes[0])


@pytest.mark.parametrize("code", [errno.ENOTTY, errno.EPERM])
def test_kernel_means_kernel(tmp_path: Path, code: int) -> None:
    kernel = FakeKernel(tmp_path, "pl011")
    kernel.fails = {"TIOCSRS485": code}
    with pytest.raises(BusError, match=f'asked for rs485 = "kernel".*{os.strerror(code)}.*use rs485 = "auto"'):
        opened(kernel, rs485="kernel")
    assert kernel.closed == 1


# --- latency ---


def timer(kernel: FakeKernel) -> Path:
    return kernel.node_folder / "device" / "latency_timer"


def test_the_latency_timer_of_an_adapter_goes_down_to_a_millisecond(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    opened(kernel)
    assert timer(kernel).read_text() == "1"
    assert "TIOCSSERIAL" not in kernel.calls


class ReadOnlySysfs:
    """Files that this user may read and not write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "write_text", refuse)


def test_without_permission_the_flag_does_it_where_the_driver_honours_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    write_text = Path.write_text
    ReadOnlySysfs(monkeypatch)
    set_flag = kernel._tiocsserial

    def by_the_driver(given: bytes) -> bytes:
        monkeypatch.setattr(Path, "write_text", write_text)
        return set_flag(given)

    kernel._tiocsserial = by_the_driver
    port = opened(kernel)
    assert told(port) == {"rs485": False, "low latency": True, "latency timer": True}
    assert timer(kernel).read_text().strip() == "1"


@pytest.mark.parametrize(
    ("driver", "does", "rule"),
    [
        ("ftdi_sio", {"flag": "ignored"}, 'SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'),
        ("8250", {}, 'SUBSYSTEM=="tty", KERNEL=="ttyS9", ATTR{rx_trig_bytes}="1"'),
    ],
)
def test_what_needs_permission_comes_with_its_udev_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, does: dict, rule: str
) -> None:
    kernel = FakeKernel(tmp_path, driver)
    kernel.does = kernel.does | does
    ReadOnlySysfs(monkeypatch)
    refused = [note for note in opened(kernel).notes if note.remedy]
    assert len(refused) == 1
    assert refused[0].remedy.endswith(rule)
    assert "(Permission denied)" in refused[0].text


def test_the_flag_is_read_back(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "8250")
    opened(kernel)
    assert kernel.serial_flags == ASYNC_LOW_LATENCY
    notes = opened(FakeKernel(tmp_path / "other", "cp210x")).notes
    assert "ignores ASYNC_LOW_LATENCY" in str(notes[-1])


# --- permission, locks ---


@pytest.mark.parametrize(
    ("mode", "group", "words"),
    [
        (None, 0, "^{path}: no permission; add this user .*usermod -aG dialout"),  # gone again
        (0o660, 65534, "usermod -aG nogroup .*SupplementaryGroups=nogroup"),
        (0o600, 65534, 'KERNEL=="ttyS9", GROUP="dialout", MODE="0660"; then .*usermod -aG dialout'),
        (0o660, 0, 'KERNEL=="ttyS9", GROUP="dialout", MODE="0660"; then .*usermod -aG dialout'),
    ],
)
def test_who_may_not_open_a_port_is_told_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None, group: int, words: str
) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    kernel.fails = {"open": errno.EACCES}
    if mode is not None:
        looks = os.stat_result([mode, 0, 0, 0, 0, group, 0, 0, 0, 0])
        monkeypatch.setattr(Path, "stat", lambda *_, **__: looks)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="nogroup" if gid else "root"))
    with pytest.raises(NotPermittedError, match=words.format(path=kernel.path)):
        opened(kernel)


def holder(kernel: FakeKernel, pid: int = 812, name: str = "picocom") -> None:
    """A process that has the port open."""
    folder = kernel.proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(name + "\n")
    (folder / "fd" / "3").symlink_to(kernel.path)
    (kernel.proc / "self").mkdir()


def test_root_walks_past_tiocexcl_and_so_we_look(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    kernel.exclusive = True
    holder(kernel)
    with pytest.raises(BusError, match=rf"{kernel.path} is in use by picocom \(pid 812\); end it"):
        opened(kernel)
    assert kernel.exclusive
    assert kernel.closed == 1


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_port_that_is_held_names_its_holder_or_how_to_find_it(tmp_path: Path, call: str) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    kernel.fails = {call: errno.EBUSY if call == "open" else errno.EAGAIN}
    with pytest.raises(BusError, match=f"in use by another program; `sudo fuser -v {kernel.path}`"):
        opened(kernel)
    holder(kernel)
    with pytest.raises(BusError, match=r"in use by picocom \(pid 812\)"):
        opened(kernel)


def test_the_owner_of_a_flock_is_known_to_everybody(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    Path(kernel.path).touch()
    place = Path(kernel.path).stat()
    where = f"{os.major(place.st_dev):02x}:{os.minor(place.st_dev):02x}:{place.st_ino}"
    (kernel.proc / "locks").write_text(
        f"1: POSIX  ADVISORY  WRITE 9 {where} 0 EOF\n2: FLOCK  ADVISORY  WRITE 77 {where} 0 EOF\n"
        f"3: FLOCK  ADVISORY  WRITE 0 {where} 0 EOF\n4: FLOCK  ADVISORY  WRITE 78 00:01:1 0 EOF\n"
    )
    kernel.fails = {"flock": errno.EAGAIN}
    with pytest.raises(BusError, match="in use by pid 77; end it"):
        opened(kernel)


def test_the_lock_file_of_a_live_program_counts_and_a_dead_ones_does_not(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "ftdi_sio")
    (kernel.locks / "LCK..ttyS9").write_text("       812\n")
    opened(kernel).close()
    (kernel.proc / "812").mkdir()
    with pytest.raises(BusError, match="in use by pid 812"):
        opened(kernel)
    (kernel.locks / "LCK..ttyS9").write_text("not a number")
    opened(kernel)


def test_a_port_that_the_kernel_logs_to_is_told_with_the_way_out(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "pl011", "ttyAMA0")
    active = kernel.sysfs / "class" / "tty" / "console" / "active"
    active.parent.mkdir()
    active.write_text("tty0 ttyAMA0\n")
    port = opened(kernel)
    assert "remove console=ttyAMA0 from its command line" in str(port.notes[-1])
    port.close()
    active.write_text("tty0 ttyAMA01\n")
    assert "console" not in told(opened(kernel))


def test_a_port_is_marked_exclusive_while_it_is_open(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, "8250")
    port = opened(kernel)
    assert kernel.exclusive
    port.close()
    assert not kernel.exclusive
