"""`usb:VID:PID[:SERIAL]` in, the path of the one adapter it names out: read from sysfs, as it is plugged in now."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.acquire.kernel import Kernel
from agent.errors import BusError

PREFIX = "usb:"
NODES = "tty[A-Z]*"  # ttyUSB0, ttyACM0 ...: not the dozens of virtual consoles
LEVELS = 4  # from a tty's device up to the USB device: usb-serial port, interface, device


class Adapter(NamedTuple):
    """One serial port of one USB adapter."""

    path: str
    vid: int
    pid: int
    serial: str  # empty: it has none, like most CH340
    product: str
    socket: str  # where it is plugged in and which of its ports this is, say 1-1.4:1.0
    aliases: tuple[str, ...]  # its names in /dev/serial

    def __str__(self) -> str:
        serial = f", serial {self.serial}" if self.serial else ", no serial"
        return f"{self.path} ({self.vid:04x}:{self.pid:04x}{serial}, {self.product or 'USB'} at {self.socket})"


def find(kernel: Kernel, port: str) -> str:
    """The path of the adapter. Raises BusError where none or more than one fits."""
    vid, pid, *serial = port.removeprefix(PREFIX).split(":", 2)
    plugged = adapters(kernel)
    named = [each for each in plugged if (each.vid, each.pid) == (int(vid, 16), int(pid, 16))]
    if serial:
        named = [each for each in named if each.serial.lower() == serial[0].lower()]
    if len(named) == 1:
        return named[0].path
    if named:
        raise BusError(f"{port} fits {len(named)} ports: {_list(named)}; {_remedy(named)}")
    raise BusError(f"{port}: no such USB adapter is plugged in; {nearby(plugged)}")


def nearby(plugged: list[Adapter]) -> str:
    """What is there instead of what was asked for."""
    return f"there are: {_list(plugged)}" if plugged else "there is no USB serial adapter at all"


def adapters(kernel: Kernel) -> list[Adapter]:
    """All serial ports on USB, by path."""
    aliases = dict(_aliases(kernel))
    found = []
    for tty in sorted((kernel.sysfs / "class" / "tty").glob(f"{NODES}/device")):
        device = tty.resolve()
        usb = next((up for up in (device, *list(device.parents)[:LEVELS]) if (up / "idVendor").exists()), None)
        if usb:
            found.append(_adapter(str(kernel.dev / tty.parent.name), device, usb, aliases))
    return found


def _adapter(path: str, device: Path, usb: Path, aliases: dict[str, tuple[str, ...]]) -> Adapter:
    """`device` is the interface itself (ttyACM) or a usb-serial port within it (ttyUSB)."""
    interface = device if (device / "bInterfaceNumber").exists() else device.parent
    return Adapter(
        path,
        int(_text(usb / "idVendor") or "0", 16),
        int(_text(usb / "idProduct") or "0", 16),
        _text(usb / "serial"),
        _text(usb / "product"),
        interface.name,
        aliases.get(path, ()),
    )


def _aliases(kernel: Kernel) -> Iterator[tuple[str, tuple[str, ...]]]:
    names: dict[str, list[str]] = {}
    for link in sorted((kernel.dev / "serial").glob("by-*/*")):
        names.setdefault(str(link.resolve()), []).append(str(link))
    yield from ((path, tuple(links)) for path, links in names.items())


def _text(file: Path) -> str:
    """One attribute; empty: it has none, or was unplugged this moment."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _list(found: list[Adapter]) -> str:
    return ", ".join(map(str, found))


def _remedy(named: list[Adapter]) -> str:
    """A serial tells adapters apart unless they share it; the socket always does."""
    serials = {each.serial for each in named}
    if len(serials) == len(named) and "" not in serials:
        return f"say which: {PREFIX}{named[0].vid:04x}:{named[0].pid:04x}:{named[0].serial}"
    places = [alias for alias in named[0].aliases if "by-path" in alias] or ["/dev/serial/by-path/..."]
    return f"say which by its socket: port = {places[0]!r}"
