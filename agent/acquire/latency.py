"""An open port in, one that hands bytes on at once out, and notes of what its driver granted and how to allow the rest.

Nothing here is put back at the end: it belongs to the adapter like a udev rule's setting, and its next user gains too.
"""

import struct
from pathlib import Path

from agent.acquire.kernel import Kernel, Note, reason

TIMER = "latency timer"  # FTDI: how long an adapter keeps bytes that do not fill a packet, in ms; 16 when plugged in
FIFO = "receive FIFO"  # 8250: how many bytes wait in the chip before it interrupts
FLAG = "low latency"

TIMER_RULE = 'ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'
FIFO_RULE = 'ACTION=="add", SUBSYSTEM=="tty", KERNEL=="%s", ATTR{rx_trig_bytes}="1"'
RULE_FILE = "/etc/udev/rules.d/60-fieldtap.rules"

# struct serial_struct: only its flags are looked at; it is at most 80 bytes long.
SERIAL_STRUCT_BYTES = 128
FLAGS_AT = 16
TIOCGSERIAL = 0x541E
TIOCSSERIAL = 0x541F
ASYNC_LOW_LATENCY = 0x2000


def quicken(kernel: Kernel, fd: int) -> list[Note]:
    """Ask for every setting that makes bytes arrive sooner."""
    device = kernel.device(fd)
    notes = []
    timer = device / "device" / "latency_timer"
    refused = _put_one(timer, TIMER, "1 ms") if timer.exists() else None
    if refused is None or not refused.done:
        flag = _set_flag(kernel, fd)
        notes.append(flag)
        if refused and _read(timer) == "1":  # ftdi_sio takes the flag from anyone
            refused = Note(TIMER, True, "1 ms")
    if refused:
        notes.append(refused if refused.done else refused._replace(remedy=_allow(TIMER_RULE)))
    fifo = device / "rx_trig_bytes"
    if fifo.exists():
        done = _put_one(fifo, FIFO, "hands on every byte")
        notes.append(done if done.done else done._replace(remedy=_allow(FIFO_RULE % kernel.node(fd))))
    return notes


def _put_one(file: Path, what: str, meaning: str) -> Note:
    """Write a 1 unless it is there, and look whether the driver has kept it."""
    try:
        if _read(file) != "1":
            file.write_text("1")
    except OSError as error:
        return Note(what, False, f"stays at {_read(file) or 'its default'} ({reason(error)})")
    kept = _read(file)
    return Note(what, True, meaning) if kept == "1" else Note(what, False, f"its driver made {kept or '?'} of 1")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _set_flag(kernel: Kernel, fd: int) -> Note:
    """ASYNC_LOW_LATENCY, read back: most drivers of USB adapters take it and do nothing."""
    try:
        state = bytearray(kernel.ioctl(fd, TIOCGSERIAL, bytes(SERIAL_STRUCT_BYTES)))
        if not _flags(state) & ASYNC_LOW_LATENCY:
            struct.pack_into("=i", state, FLAGS_AT, _flags(state) | ASYNC_LOW_LATENCY)
            kernel.ioctl(fd, TIOCSSERIAL, bytes(state))
            state = bytearray(kernel.ioctl(fd, TIOCGSERIAL, bytes(SERIAL_STRUCT_BYTES)))
    except OSError as error:
        return Note(FLAG, False, f"its driver has no such flag ({reason(error)})")
    if _flags(state) & ASYNC_LOW_LATENCY:
        return Note(FLAG, True, "ASYNC_LOW_LATENCY is set")
    return Note(FLAG, False, "its driver ignores ASYNC_LOW_LATENCY")


def _flags(state: bytes | bytearray) -> int:
    flags: int = struct.unpack_from("=i", state, FLAGS_AT)[0]
    return flags


def _allow(rule: str) -> str:
    return f"allow it with this line in {RULE_FILE}: {rule}"
