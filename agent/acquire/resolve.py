"""Host names and ports in, socket addresses out, by a thread of its own: a dead name server holds up nobody else."""

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

Addresses: TypeAlias = tuple[tuple[socket.AddressFamily, Any], ...]  # families and what connect() takes


class Resolver:
    """Answers are fetched with take(); `bell` is called when there is one."""

    def __init__(self, bell: Callable[[], None]) -> None:
        self._bell = bell
        self._asked: queue.SimpleQueue[tuple[int, str, int]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, Addresses | OSError]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, key: int, host: str, port: int) -> None:
        """An answer under this key follows; at once for numbers, which nobody need be asked for."""
        try:
            self._answers.put((key, _resolve(host, port, socket.AI_NUMERICHOST)))
        except socket.gaierror:
            self._start()
            self._asked.put((key, host, port))

    def take(self) -> tuple[int, Addresses | OSError] | None:
        """The next answer, if there is one."""
        try:
            return self._answers.get_nowait()
        except queue.Empty:
            return None

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fieldtap-names", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            key, host, port = self._asked.get()
            try:
                self._answers.put((key, _resolve(host, port, 0)))
            except OSError as error:
                self._answers.put((key, error))
            self._bell()


def _resolve(host: str, port: int, flags: int) -> Addresses:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)  # datagrams go to the same
    return tuple((socket.AddressFamily(family), address) for family, _, _, _, address in found)
