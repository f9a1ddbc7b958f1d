"""What port code asks of Linux in, what Linux answers out: the one seam to it, so that tests can play any driver."""

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

PTY_MAJORS = range(136, 144)  # Unix98 pty slaves


class Note(NamedTuple):
    """One thing that was asked of a port's driver or host, and what came of it."""

    what: str
    done: bool
    text: str
    remedy: str = ""  # what a person can do about it; empty: nothing to do

    def __str__(self) -> str:
        return f"{self.what}: {self.text}" + (f"; {self.remedy}" if self.remedy else "")


class Kernel:
    """System calls and pseudo file systems, as they are."""

    def __init__(
        self,
        sysfs: Path = Path("/sys"),
        proc: Path = Path("/proc"),
        dev: Path = Path("/dev"),
        locks: Path = Path("/run/lock"),
    ) -> None:
        self.sysfs = sysfs
        self.proc = proc
        self.dev = dev
        self.locks = locks

    def open(self, path: str) -> int:
        """Open without waiting for a carrier, without becoming this process's terminal, not for children."""
        return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close, for good."""
        os.close(fd)

    def stat(self, fd: int) -> os.stat_result:
        """What the descriptor is."""
        return os.fstat(fd)

    def ioctl(self, fd: int, request: int, argument: bytes | int = 0) -> bytes:
        """One ioctl: the argument as the driver leaves it. Raises OSError."""
        result = fcntl.ioctl(fd, request, argument)
        return result if isinstance(result, bytes) else b""

    def flock(self, fd: int) -> None:
        """Lock against every program that asks, root's too. Raises BlockingIOError."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_pty(self, fd: int) -> bool:
        """Whether there is no wire behind it: a pty keeps some marks after its opener has gone."""
        return os.major(self.stat(fd).st_rdev) in PTY_MAJORS

    def device(self, fd: int) -> Path:
        """The sysfs folder of a character device; it need not exist."""
        number = self.stat(fd).st_rdev
        return self.sysfs / "dev" / "char" / f"{os.major(number)}:{os.minor(number)}"

    def node(self, fd: int) -> str:
        """What the kernel calls a character device, say ttyUSB0; empty: it has no entry in sysfs."""
        folder = self.device(fd)
        return folder.resolve().name if folder.exists() else ""


def reason(error: OSError) -> str:
    """An errno in words."""
    return os.strerror(error.errno) if error.errno else str(error)
