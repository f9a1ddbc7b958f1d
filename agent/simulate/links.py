"""A pty's path in, a link to it, which one process has at a time, out.

Who has a link holds a lock on a file beside it. The lock ends with the process, however that ends: so a link that
nobody has locked is left over, and is replaced.
"""

import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from agent.errors import BusError

PTYS = "/dev/pts/"
PID_BYTES = 20  # more digits than any process number has


def link(place: Path, pty: str, opened: ExitStack) -> None:
    """Make `place` a link to `pty` until `opened` closes. Raises BusError for what is another's, OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    _own(place, opened)
    if place.is_symlink():
        _require_left_over(place)
        place.unlink()
    place.symlink_to(pty)
    opened.callback(_unlink_if, place, pty)


def _own(place: Path, opened: ExitStack) -> None:
    """Lock the file beside `place`; one that its owner is just removing is made anew."""
    path = place.with_name(f".{place.name}.owner")
    is_ours = False
    while not is_ours:
        with ExitStack() as made:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            made.callback(os.close, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _taken(place, os.pread(file, PID_BYTES, 0).decode().strip()) from error
            if is_ours := _is_at(path, file):
                opened.push(made.pop_all())
    opened.callback(path.unlink, missing_ok=True)
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _taken(place: Path, pid: str) -> BusError:
    return BusError(
        f"{place} belongs to another `fieldtap simulate` (pid {pid or 'unknown'}); end that one, "
        "or choose another folder for --link"
    )


def _require_left_over(place: Path) -> None:
    """A link to anything but a pty was made by somebody else, for a purpose."""
    target = str(place.readlink())
    if not target.startswith(PTYS):
        raise BusError(f"{place} is a link to {target}, which is no simulator's; remove it, or choose another folder")


def _unlink_if(place: Path, pty: str) -> None:
    """Remove our link, and leave one that somebody else has put there since."""
    with suppress(OSError):
        if place.readlink() == Path(pty):
            place.unlink()
