"""The one place that reads clocks: boot-relative time for samples, the wall clock's offset and quality for batches."""

import ctypes
import time

from agent.model import NS_PER_MS, WallClock

STA_UNSYNC = 0x0040  # linux/timex.h
TIMEX_BYTES = 208  # sizeof(struct timex) on 64-bit Linux; 128 on 32-bit
MAX_ERROR_US = 16_000_000  # the kernel stops counting here


def boot_ns() -> int:
    """Nanoseconds since boot, suspend included; the time base of samples."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wall_clock() -> WallClock:
    """The wall clock as it stands now, with what the kernel knows of its quality (adjtimex(2), read only)."""
    before = boot_ns()
    wall = time.time_ns()
    offset = wall - (before + boot_ns()) // 2
    status, max_error_us = _adjtimex()
    synchronised = not status & STA_UNSYNC
    return WallClock(offset, 2 if synchronised else 1, min(max_error_us, MAX_ERROR_US) * 1000 // NS_PER_MS)


class _Timex(ctypes.Structure):
    """The head of struct timex: only status and maxerror are read."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * TIMEX_BYTES),
    )


_libc = ctypes.CDLL(None)


def _adjtimex() -> tuple[int, int]:
    timex = _Timex()
    if _libc.adjtimex(ctypes.byref(timex)) < 0:
        return STA_UNSYNC, MAX_ERROR_US
    return timex.status, timex.maxerror
