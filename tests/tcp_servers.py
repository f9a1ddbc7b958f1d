"""Modbus TCP servers on loopback that keep the protocol or break it on purpose; registers hold their own address."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

REQUEST_BYTES = 12


def answer_to(request: bytes) -> bytes:
    transaction, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", request)
    data = b"".join(struct.pack(">H", address + at) for at in range(count))
    return struct.pack(">HHHBBB", transaction, 0, len(data) + 3, unit, function, len(data)) + data


class Server:
    """Accepts connections and gives each to `serve(connection)`, which returns when it wants it closed."""

    def __init__(self, serve: Callable[["Connection"], None], port: int = 0) -> None:
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", port))
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.port = self.listener.getsockname()[1]
        self.connections: list[Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(Connection(accepted))
            threading.Thread(target=self._run, args=(self.connections[-1],), daemon=True).start()

    def _run(self, connection: "Connection") -> None:
        with contextlib.suppress(OSError):
            self.serve(connection)
        connection.socket.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)


class Connection:
    """One master's connection: requests as they come, and answers."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.most_at_once = 0

    def batches(self) -> Iterator[list[bytes]]:
        """Whole requests that came together."""
        waiting = b""
        while received := self.socket.recv(4096):
            waiting += received
            whole = len(waiting) // REQUEST_BYTES * REQUEST_BYTES
            batch = [waiting[at : at + REQUEST_BYTES] for at in range(0, whole, REQUEST_BYTES)]
            waiting = waiting[whole:]
            self.most_at_once = max(self.most_at_once, len(batch))
            if batch:
                yield batch

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)


def in_order(connection: Connection) -> None:
    for batch in connection.batches():
        connection.send(b"".join(map(answer_to, batch)))


def backwards(connection: Connection) -> None:
    for batch in connection.batches():
        connection.send(b"".join(map(answer_to, reversed(batch))))


def one_at_a_time(connection: Connection) -> None:
    """Of what came together, all but the first is forgotten."""
    for batch in connection.batches():
        connection.send(answer_to(batch[0]))


def closes_on_a_second(connection: Connection) -> None:
    for batch in connection.batches():
        if len(batch) > 1:
            return
        connection.send(answer_to(batch[0]))


def mute(connection: Connection) -> None:
    for _ in connection.batches():
        pass


def mute_after(answers: int) -> Callable[[Connection], None]:
    """The first connection falls silent, in the middle of an answer; the next ones work."""
    connections = []

    def serve(connection: Connection) -> None:
        connections.append(connection)
        left = answers if len(connections) == 1 else 1 << 30
        for batch in connection.batches():
            if left > 0:
                connection.send(b"".join(map(answer_to, batch)))
            elif left == 0:
                connection.send(answer_to(batch[0])[:10])
            left -= 1

    return serve
