"""Modbus TCP servers on loopback that keep the protocol or break it on purpose; registers hold their own address."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

READ, WRITE = 3, 6


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
        self.cut()

    def cut(self) -> None:
        """End all connections."""
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
            batch = []
            while len(waiting) >= 6 and len(waiting) >= (size := 6 + struct.unpack_from(">H", waiting, 4)[0]):
                batch.append(waiting[:size])
                waiting = waiting[size:]
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


# --- servers that are written to ---


class Registers:
    """What units hold: each register its own address, until it is written."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}

    def answer(self, request: bytes) -> bytes:
        """Obeys, and answers."""
        *_, unit, function, address, word = struct.unpack(">HHHBBHH", request)
        if function == WRITE:
            self.held[unit, address] = word
            return request
        data = b"".join(struct.pack(">H", self.held.get((unit, address + at), address + at)) for at in range(word))
        return answer_to(request)[: -len(data)] + data


def is_write(request: bytes) -> bool:
    return request[7] == WRITE


class Writable:
    """Serves registers; `deal(registers, batch)` says what to send for requests that came together, None: hang up."""

    def __init__(self, deal: Callable[[Registers, list[bytes]], bytes | None]) -> None:
        self.registers = Registers()
        self.deal = deal
        self.writes: list[bytes] = []  # that were sent to it, without their numbers

    def __call__(self, connection: Connection) -> None:
        for batch in connection.batches():
            self.writes += [request[6:] for request in batch if is_write(request)]
            answer = self.deal(self.registers, batch)
            if answer is None:
                return
            connection.send(answer)


def obeys(registers: Registers, batch: list[bytes]) -> bytes:
    return b"".join(map(registers.answer, batch))


def obeys_backwards(registers: Registers, batch: list[bytes]) -> bytes:
    return obeys(registers, batch[::-1])


def obeys_after_reading(registers: Registers, batch: list[bytes]) -> bytes:
    return obeys(registers, sorted(batch, key=is_write))


def says_everything_twice(registers: Registers, batch: list[bytes]) -> bytes:
    return b"".join(2 * registers.answer(request) for request in batch)


def obeys_without_a_word(registers: Registers, batch: list[bytes]) -> bytes:
    answers = [(request, registers.answer(request)) for request in batch]
    return b"".join(answer for request, answer in answers if not is_write(request))


def ignores_writes(registers: Registers, batch: list[bytes]) -> bytes:
    return obeys(registers, [request for request in batch if not is_write(request)])


def obeys_and_hangs_up(registers: Registers, batch: list[bytes]) -> bytes | None:
    """On a write; nobody is told that it has obeyed."""
    answer = obeys(registers, batch)
    return None if any(map(is_write, batch)) else answer
