"""USB adapters by what they are: one fits, none fits, several fit."""

from pathlib import Path

import pytest
from drivers import FakeKernel, plug_in

from agent.acquire.identity import adapters, find
from agent.acquire.port import open_port
from agent.config.model import Bus
from agent.errors import BusError


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """An FTDI with a serial, two CH340 without, a four-port FTDI, an ACM gadget, and ttys that are not on USB."""
    made = FakeKernel(tmp_path, "ftdi_sio")
    plug_in(made, "ttyUSB0", "1-1.1")
    plug_in(made, "ttyUSB1", "1-1.2", vid="1a86", pid="7523", serial="", product="USB Serial")
    plug_in(made, "ttyUSB2", "1-1.3", vid="1a86", pid="7523", serial="", product="USB Serial")
    for interface in range(4):
        plug_in(made, f"ttyUSB{3 + interface}", "1-1.4", interface, pid="6011", serial="FT4X", product="Quad RS232-HS")
    plug_in(made, "ttyACM0", "1-2", vid="2E8A", pid="000A", serial="E660", product="Pico", acm=True)
    (tmp_path / "sys/class/tty/ttyS0/device").mkdir(parents=True)
    (tmp_path / "sys/class/tty/tty1").mkdir()
    return made


@pytest.mark.parametrize(
    ("port", "node"),
    [
        ("usb:0403:6001", "ttyUSB0"),
        ("usb:0403:6001:A50285BI", "ttyUSB0"),
        ("usb:0403:6001:a50285bi", "ttyUSB0"),
        ("usb:2e8a:000a", "ttyACM0"),
        ("usb:2E8A:000A:e660", "ttyACM0"),
    ],
)
def test_an_adapter_is_found_by_its_identity(kernel: FakeKernel, port: str, node: str) -> None:
    assert find(kernel, port) == str(kernel.dev / node)


@pytest.mark.parametrize(
    ("port", "fits", "remedy"),
    [
        ("usb:1a86:7523", ["ttyUSB1", "ttyUSB2"], "say which by its socket: port = '{dev}/serial/by-path/"),
        ("usb:0403:6011:FT4X", ["ttyUSB3", "ttyUSB4", "ttyUSB5", "ttyUSB6"], "say which by its socket: port = '{dev}/"),
    ],
)
def test_an_identity_that_fits_several_is_an_error_that_lists_them(
    kernel: FakeKernel, port: str, fits: list[str], remedy: str
) -> None:
    with pytest.raises(BusError) as error:
        find(kernel, port)
    words = str(error.value)
    assert words.startswith(f"{port} fits {len(fits)} ports: ")
    assert [node for node in (f"ttyUSB{n}" for n in range(7)) if f"/{node} (" in words] == fits
    assert remedy.format(dev=kernel.dev) in words


def test_where_serials_tell_them_apart_the_remedy_is_a_serial(kernel: FakeKernel) -> None:
    plug_in(kernel, "ttyUSB9", "1-1.9", serial="B0001")
    with pytest.raises(BusError, match="say which: usb:0403:6001:A50285BI"):
        find(kernel, "usb:0403:6001")


def test_an_adapter_that_is_not_plugged_in_is_named_beside_those_that_are(kernel: FakeKernel) -> None:
    with pytest.raises(BusError, match=r"usb:0403:6001:NONE: no such USB adapter is plugged in; there are: ") as error:
        find(kernel, "usb:0403:6001:NONE")
    assert f"{kernel.dev}/ttyUSB0 (0403:6001, serial A50285BI, FT232R at 1-1.1:1.0)" in str(error.value)
    assert f"{kernel.dev}/ttyUSB1 (1a86:7523, no serial, USB Serial at 1-1.2:1.0)" in str(error.value)


def test_a_missing_node_is_named_beside_those_that_are_there(kernel: FakeKernel) -> None:
    kernel.fails = {"open": 2}
    with pytest.raises(BusError, match=r"ttyUSB8: No such file or directory; there are: .*ttyUSB0 \(0403:6001"):
        open_port(Bus(name="b", port=str(kernel.dev / "ttyUSB8"), timeout_ns=1, devices=()), kernel)


def test_an_adapter_that_leaves_while_it_is_looked_at_is_none(kernel: FakeKernel) -> None:
    (kernel.sysfs / "devices/pci0/usb1/1-1.1/idProduct").unlink()
    assert next(each for each in adapters(kernel) if each.path.endswith("ttyUSB0")).pid == 0


def test_a_machine_without_usb_has_no_adapters(tmp_path: Path) -> None:
    bare = FakeKernel(tmp_path, "pty")
    assert adapters(bare) == []
    with pytest.raises(BusError, match="there is no USB serial adapter at all"):
        find(bare, "usb:0403:6001")
