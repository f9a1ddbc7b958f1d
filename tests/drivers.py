"""Serial drivers as scripts: what each does with the calls of the port code, and what else a test makes it do."""

import errno
import os
import shutil
import stat
import struct
import termios
import tomllib
from pathlib import Path
from typing import Any

from agent.acquire import latency, lock, rs485
from agent.acquire.kernel import Kernel
from agent.acquire.terminal import FORMAT, TCGETS2, TCSETS2, TERMIOS2, Terminal

DRIVERS: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "acquire" / "drivers.toml").read_text())
NAMES = {
    TCGETS2: "TCGETS2",
    TCSETS2: "TCSETS2",
    rs485.TIOCGRS485: "TIOCGRS485",
    rs485.TIOCSRS485: "TIOCSRS485",
    latency.TIOCGSERIAL: "TIOCGSERIAL",
    latency.TIOCSSERIAL: "TIOCSSERIAL",
    lock.TIOCGEXCL: "TIOCGEXCL",
    termios.TIOCEXCL: "TIOCEXCL",
    termios.TIOCNXCL: "TIOCNXCL",
    termios.TCFLSH: "TCFLSH",
    termios.TIOCGICOUNT: "TIOCGICOUNT",
}
FD = 1_000_000  # no descriptor of this process
COOKED = Terminal(
    termios.ICRNL | termios.IXON,
    termios.OPOST | termios.ONLCR,
    termios.B9600 | termios.CS8 | termios.CREAD | termios.HUPCL | termios.CRTSCTS,
    termios.ICANON | termios.ECHO | termios.IEXTEN | termios.ISIG,
    0,
    bytes(19),
    9600,
    9600,
)


class FakeKernel(Kernel):
    """One port with one driver. `fails` maps the name of a call to the errno it ends with."""

    def __init__(self, root: Path, driver: str, node: str = "ttyS9") -> None:
        super().__init__(root / "sys", root / "proc", root / "dev", root / "lock")
        self.path = str(root / "dev" / node)
        self.fails: dict[str, int] = {}
        self.calls: list[str] = []
        self.closed = 0
        self.does = DRIVERS[driver]
        self.terminal = COOKED
        self.exclusive = False
        self.serial_flags = 0
        self.rs485 = (0, 0, 0)
        self.icount = [0] * 11
        self._make_files(root, node)

    def _make_files(self, root: Path, node: str) -> None:
        for folder in ("dev", "proc", "lock", "sys/dev/char", f"sys/class/tty/{node}/device"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.node_folder = root / "sys" / "class" / "tty" / node
        (root / "sys" / "dev" / "char" / f"{self.does['major']}:9").symlink_to(self.node_folder)
        if "latency_timer" in self.does:
            (self.node_folder / "device" / "latency_timer").write_text(self.does["latency_timer"] + "\n")
        if "rx_trig_bytes" in self.does:
            (self.node_folder / "rx_trig_bytes").write_text(self.does["rx_trig_bytes"] + "\n")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise OSError(self.fails[name], os.strerror(self.fails[name]))

    def open(self, path: str) -> int:
        self._call("open")
        return FD

    def close(self, fd: int) -> None:
        self.closed += 1

    def stat(self, fd: int) -> os.stat_result:
        mode_alone = [stat.S_IFCHR | 0o660] + [0] * 9
        return os.stat_result(mode_alone, {"st_rdev": os.makedev(self.does["major"], 9)})

    def flock(self, fd: int) -> None:
        self._call("flock")

    def ioctl(self, fd: int, request: int, argument: bytes | int = 0) -> bytes:
        assert fd == FD
        name = NAMES[request]
        self._call(name)
        given = argument if isinstance(argument, bytes) else b""
        return getattr(self, f"_{name.lower()}")(given)

    def _tcgets2(self, _: bytes) -> bytes:
        return TERMIOS2.pack(*self.terminal)

    def _tcsets2(self, given: bytes) -> bytes:
        asked = Terminal._make(TERMIOS2.unpack(given))
        speed, clock = asked.ospeed, self.does.get("baud_clock")
        if clock:
            speed = clock // max(1, round(clock / speed))
        cflag = asked.cflag & ~(FORMAT & ~termios.CSIZE) if self.does.get("no_parity") else asked.cflag
        self.terminal = asked._replace(cflag=cflag, ispeed=speed, ospeed=speed)
        return given

    def _offered(self, key: str) -> None:
        if key not in self.does:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    def _tiocgrs485(self, _: bytes) -> bytes:
        self._offered("rs485")
        return rs485.RS485.pack(*self.rs485)

    def _tiocsrs485(self, given: bytes) -> bytes:
        self._offered("rs485")
        flags, *delays = rs485.RS485.unpack(given)
        flags = flags & self.does["rs485"] | (self.does.get("rs485_forced", 0) if flags else 0)
        self.rs485 = (flags, *delays)
        return given

    def _tiocgserial(self, given: bytes) -> bytes:
        self._offered("flag")
        state = bytearray(given)
        struct.pack_into("=i", state, latency.FLAGS_AT, self.serial_flags)
        return bytes(state)

    def _tiocsserial(self, given: bytes) -> bytes:
        self._offered("flag")
        if self.does["flag"] == "kept":
            self.serial_flags = struct.unpack_from("=i", given, latency.FLAGS_AT)[0]
            if self.does.get("flag_sets_timer"):
                (self.node_folder / "device" / "latency_timer").write_text("1\n")
        return given

    def _tiocgexcl(self, _: bytes) -> bytes:
        return lock.INT.pack(self.exclusive)

    def _tiocexcl(self, given: bytes) -> bytes:
        self.exclusive = True
        return given

    def _tiocnxcl(self, given: bytes) -> bytes:
        self.exclusive = False
        return given

    def _tcflsh(self, given: bytes) -> bytes:
        return given

    def _tiocgicount(self, _: bytes) -> bytes:
        self._offered("icount")
        return struct.pack("=11i36x", *self.icount)


def plug_in(
    kernel: FakeKernel,
    node: str,
    socket: str = "1-1",
    interface: int = 0,
    *,
    vid: str = "0403",
    pid: str = "6001",
    serial: str = "A50285BI",
    product: str = "FT232R",
    acm: bool = False,
) -> None:
    """One port of a USB adapter as sysfs and udev show it; `acm`: of a driver without a usb-serial layer."""
    device = kernel.sysfs / "devices" / "pci0" / "usb1" / socket
    within = device / f"{socket}:1.{interface}"
    port = within if acm else within / node
    port.mkdir(parents=True, exist_ok=True)
    texts = {"idVendor": vid, "idProduct": pid, "serial": serial, "product": product}
    for name, text in texts.items():
        if text:
            (device / name).write_text(text + "\n")
    (within / "bInterfaceNumber").write_text(f"{interface:02x}\n")
    (kernel.sysfs / "class" / "tty" / node).mkdir(parents=True)
    (kernel.sysfs / "class" / "tty" / node / "device").symlink_to(port)
    (kernel.dev / node).touch()
    by_path = kernel.dev / "serial" / "by-path" / f"pci-usb-0:{socket}:1.{interface}"
    by_path.parent.mkdir(parents=True, exist_ok=True)
    by_path.symlink_to(kernel.dev / node)


def pull_out(kernel: FakeKernel, node: str) -> None:
    """What plug_in() made is gone."""
    for link in (kernel.dev / "serial" / "by-path").iterdir():
        if link.readlink() == kernel.dev / node:
            link.unlink()
    (kernel.dev / node).unlink()
    shutil.rmtree((kernel.sysfs / "class" / "tty" / node / "device").resolve())
    shutil.rmtree(kernel.sysfs / "class" / "tty" / node)
