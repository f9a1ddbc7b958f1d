"""Paths of ports that are not there in, a descriptor out that is readable once one may be: inotify(7) on their folders.

It is asked only while a port is missing. Where the system has no inotify to give, fileno() is None, and retries have
to be frequent instead.
"""

import ctypes
import os
from pathlib import Path

from agent.acquire.identity import PREFIX
from agent.acquire.kernel import Kernel
from agent.acquire.port import LINUX, is_remote

IN_CREATE = 0x100
IN_MOVED_TO = 0x80
IN_ATTRIB = 0x4  # udev makes a node first and lets its group use it a moment later
EVENTS = IN_CREATE | IN_MOVED_TO | IN_ATTRIB
EVENT_BYTES = 16 * 1024  # a few hundred events; what is left over makes the descriptor readable again

_libc = ctypes.CDLL(None)


class Watch:
    """One inotify descriptor and the folders it covers."""

    def __init__(self, kernel: Kernel = LINUX) -> None:
        self._kernel = kernel
        self._fd: int | None = None
        self._refused = False
        self._folders: set[str] = set()

    def fileno(self) -> int | None:
        """Readable once something appeared in a covered folder; None: nothing is covered."""
        return self._fd

    def cover(self, port: str) -> bool:
        """Watch for the node of `port`; whether that is possible. To be called before a try, not after it failed."""
        if is_remote(port) or self._refused:
            return False
        return all(self._add(folder) for folder in self._folders_of(port))

    def drain(self) -> None:
        """Forget what has happened; a folder that was made anew needs a new watch."""
        if self._fd is not None:
            os.read(self._fd, EVENT_BYTES)
            self._folders.clear()

    def close(self) -> None:
        """Watch nothing any more."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None
        self._folders.clear()

    def _folders_of(self, port: str) -> set[str]:
        """A link's own folder and that of what it points to, or the nearest that exists."""
        if port.startswith(PREFIX):
            return {str(self._kernel.dev)}
        return {_existing(Path(port).absolute().parent), _existing(Path(os.path.realpath(port)).parent)}

    def _add(self, folder: str) -> bool:
        if folder in self._folders:
            return True
        if self._fd is None:
            fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
            self._refused = fd < 0  # max_user_instances, or a sandbox
            self._fd = None if self._refused else fd
        if self._fd is None or _libc.inotify_add_watch(self._fd, os.fsencode(folder), EVENTS) < 0:
            return False
        self._folders.add(folder)
        return True


def _existing(folder: Path) -> str:
    return str(next((up for up in (folder, *folder.parents) if up.is_dir()), folder))
