"""An open port in, one that no other program opens out; or an error that names who has it.

Four ways are in use to say "mine": flock(2), which binds root too; TIOCEXCL, which root walks past, so it is looked
at as well; a UUCP lock file (picocom, minicom, cu); and nothing at all, which only /proc shows.
"""

import os
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

from agent.acquire.kernel import Kernel, Note, reason
from agent.errors import BusError

TIOCGEXCL = 0x80045440
INT = struct.Struct("=i")


def lock(kernel: Kernel, fd: int, path: str) -> list[Note]:
    """Lock the port, or raise BusError. A lock that its driver does not have is noted."""
    try:
        kernel.flock(fd)
    except BlockingIOError as error:
        raise busy(kernel, path) from error
    except OSError as error:
        return [Note("flock", False, reason(error)), *_exclude(kernel, fd, path)]
    return _exclude(kernel, fd, path)


def unlock(kernel: Kernel, fd: int) -> None:
    """Take back TIOCEXCL: it outlives its owner while any other program has the port open."""
    if not kernel.is_pty(fd):
        kernel.ioctl(fd, termios.TIOCNXCL)


def busy(kernel: Kernel, path: str) -> BusError:
    """The error of a port that is taken."""
    who = [_name(kernel, pid) for pid in holders(kernel, path)]
    if not who:
        return BusError(
            f"{path} is in use by another program; `sudo fuser -v {path}` names it (often ModemManager or a getty)"
        )
    return BusError(f"{path} is in use by {', '.join(who)}; end it, or give this bus another port")


def holders(kernel: Kernel, path: str) -> list[int]:
    """The processes that have locked the port; where none has, those that have it open, as far as this user may see."""
    for source in (_lockers, _uucp, _openers):
        found = sorted(set(source(kernel, path)))
        if found:
            return found
    return []


def sharers(kernel: Kernel, path: str) -> str:
    """Other programs that have the port open beside us, without any lock, and so take characters away."""
    return ", ".join(_name(kernel, pid) for pid in sorted(set(_openers(kernel, path)) - {os.getpid()}))


def console(kernel: Kernel, fd: int) -> list[Note]:
    """A warning where the kernel itself writes to the port: its messages would be frames to the devices."""
    node = kernel.node(fd)
    try:
        active = (kernel.sysfs / "class" / "tty" / "console" / "active").read_text(encoding="ascii").split()
    except OSError:
        return []
    if node not in active:
        return []
    remedy = f"remove console={node} from its command line and `sudo systemctl disable --now serial-getty@{node}`"
    return [Note("console", False, "the kernel writes its messages to this port", remedy)]


def _exclude(kernel: Kernel, fd: int, path: str) -> list[Note]:
    if _uucp(kernel, path):
        raise busy(kernel, path)
    if kernel.is_pty(fd):  # the mark would stay on it after us
        return []
    try:
        if INT.unpack(kernel.ioctl(fd, TIOCGEXCL, bytes(INT.size)))[0]:
            raise busy(kernel, path)
    except OSError as error:
        notes = [Note("TIOCGEXCL", False, reason(error))]
    else:
        notes = []
    try:
        kernel.ioctl(fd, termios.TIOCEXCL)
    except OSError as error:
        notes.append(Note("TIOCEXCL", False, reason(error)))
    return notes


def _name(kernel: Kernel, pid: int) -> str:
    if pid == os.getpid():
        return "another bus of this agent"
    try:
        return f"{(kernel.proc / str(pid) / 'comm').read_text(errors='replace').strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


def _lockers(kernel: Kernel, path: str) -> Iterator[int]:
    """Owners of a flock: proc_locks(5) tells them to everybody."""
    try:
        status = Path(path).stat()
        lines = (kernel.proc / "locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        fields = line.split()
        if "FLOCK" in fields and place in fields and int(fields[4]) > 0:  # 0: not of this pid namespace
            yield int(fields[4])


def _openers(kernel: Kernel, path: str) -> Iterator[int]:
    """Processes with a descriptor of it; those of other users only root sees."""
    node = Path(os.path.realpath(path))
    for process in kernel.proc.glob("[0-9]*"):
        try:
            if any(fd.is_symlink() and fd.readlink() == node for fd in (process / "fd").iterdir()):
                yield int(process.name)
        except OSError:  # not ours to see, or just ended
            continue


def _uucp(kernel: Kernel, path: str) -> list[int]:
    """The live owner of the port's UUCP lock file."""
    try:
        owner = int((kernel.locks / f"LCK..{Path(os.path.realpath(path)).name}").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []
    return [owner] if (kernel.proc / str(owner)).exists() else []
