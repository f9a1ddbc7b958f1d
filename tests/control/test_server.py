"""The control socket: programs that ask, and those that dawdle, flood, break off or talk nonsense."""

import json
import os
import select
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.acquire.tickets import Ticket
from agent.control import server as server_
from agent.control.protocol import MAX_LINE_BYTES, Facts, Request
from agent.control.server import MAX_CONNECTIONS, REST_NS, Server
from agent.control.sockets import own_path, sweep
from agent.errors import RefusedError


class Host:
    """An agent that answers by ticket what is asked for `later`, and all else at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "1.sock"
        self.waiting: list[Ticket] = []
        self.asked: list[tuple[Request, str]] = []
        self.now_ns = 0
        self.server = Server(self.path, self.serve, lambda result: {"result": result})

    def serve(self, request: Request, who: str, now_ns: int) -> Ticket | Facts:
        self.asked.append((request, who))
        if request.do == "refuse":
            raise RefusedError("it must not")
        if request.do != "later":
            return {"did": request.do}
        self.waiting.append(Ticket(iter(())))
        return self.waiting[-1]

    def turn(self, *done: Ticket) -> None:
        for _ in range(3):  # one lets in, one hears, one answers
            self.server.turn(done, self.now_ns)
            done = ()

    def finish(self, ticket: Ticket, result: object) -> None:
        ticket.done, ticket.result = True, result
        self.turn(ticket)


class Program:
    """One that asks."""

    def __init__(self, host: Host) -> None:
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(5)
        self.link.connect(str(host.path))
        self.lines = self.link.makefile("rb")

    def send(self, *names: str) -> None:
        self.link.sendall(b"".join(json.dumps({"v": 1, "do": name}).encode() + b"\n" for name in names))

    def hear(self) -> dict | None:
        line = self.lines.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        self.lines.close()
        self.link.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.server.close()


@pytest.fixture
def program(host: Host) -> Iterator:
    made = []

    def connect() -> Program:
        made.append(Program(host))
        host.turn()
        return made[-1]

    yield connect
    for each in made:
        each.close()


def test_requests_are_answered_in_order_however_they_are_cut(host: Host, program) -> None:
    asker = program()
    asker.send("one", "two")
    host.turn()
    asker.link.sendall(b'{"v": 1, "do": "th')
    host.turn()
    asker.link.sendall(b'ree"}\n')
    host.turn()
    assert [asker.hear() for _ in range(3)] == [{"ok": {"did": word}} for word in ("one", "two", "three")]


def test_who_asks_is_what_the_kernel_says(host: Host, program) -> None:
    program().send("hello")
    host.turn()
    [(_, who)] = host.asked
    assert f"(pid {os.getpid()})" in who


def test_a_request_that_takes_long_holds_nobody_else_up(host: Host, program) -> None:
    slow, quick = program(), program()
    slow.send("later", "after")
    host.turn()
    quick.send("hello")
    host.turn()
    assert quick.hear() == {"ok": {"did": "hello"}}
    assert [request.do for request, _ in host.asked] == ["later", "hello"]
    host.finish(host.waiting[0], 5)
    assert [slow.hear(), slow.hear()] == [{"ok": {"result": 5}}, {"ok": {"did": "after"}}]


def test_an_error_is_answered_and_the_next_request_served(host: Host, program) -> None:
    asker = program()
    asker.send("refuse")
    asker.link.sendall(b"nonsense\n")
    asker.send("hello")
    host.turn()
    assert asker.hear() == {"error": "it must not", "exit": 2}
    assert asker.hear() == {"error": "what came is no line of JSON with an object", "exit": 2}
    assert asker.hear() == {"ok": {"did": "hello"}}


def test_a_ticket_that_failed_is_answered_with_its_error(host: Host, program) -> None:
    asker = program()
    asker.send("later")
    host.turn()
    host.waiting[0].error = RefusedError("no")
    host.finish(host.waiting[0], None)
    assert asker.hear() == {"error": "no", "exit": 2}


def test_one_who_breaks_off_while_it_waits_is_forgotten(host: Host, program) -> None:
    asker = program()
    asker.send("later")
    host.turn()
    asker.close()
    host.turn()
    assert not select_readable(host), "what a leaver leaves behind would keep the agent awake"
    host.finish(host.waiting[0], 5)
    other = program()
    other.send("hello")
    host.turn()
    assert other.hear() == {"ok": {"did": "hello"}}


def select_readable(host: Host) -> bool:
    return bool(select.select([host.server.fileno()], [], [], 0)[0])


def test_a_line_without_an_end_is_cut_off(host: Host, program) -> None:
    asker = program()
    asker.link.sendall(b"x" * MAX_LINE_BYTES)
    host.turn()
    assert asker.hear() == {"error": f"a line has less than {MAX_LINE_BYTES} bytes", "exit": 69}
    assert asker.hear() is None


def flood(host: Host, asker: Program) -> None:
    """Send for ever, without reading what is answered."""
    asker.link.setblocking(False)
    for _ in range(1 << 16):
        try:
            asker.link.send(b'{"v": 1, "do": "%s"}\n' % (b"x" * 2000))
        except BlockingIOError:
            host.turn()


def test_one_who_sends_without_reading_is_cut_off(host: Host, program) -> None:
    with pytest.raises(BrokenPipeError):
        flood(host, program())


def test_more_programs_than_there_is_room_for_are_told_so(host: Host, program) -> None:
    asking = [program() for _ in range(MAX_CONNECTIONS)]
    late = program()
    assert late.hear() == {"error": f"{MAX_CONNECTIONS} programs are connected already", "exit": 69}
    assert late.hear() is None
    asking[0].close()
    host.turn()
    last = program()
    last.send("hello")
    host.turn()
    assert last.hear() == {"ok": {"did": "hello"}}


def test_a_lack_of_descriptors_lets_nobody_in_for_a_moment_and_does_not_keep_the_agent_awake(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted:
        def __init__(self, listener: socket.socket) -> None:
            self.fileno, self.close = listener.fileno, listener.close

        def accept(self) -> None:
            raise OSError(24, "Too many open files")

    listener = host.server._listener
    monkeypatch.setattr(host.server, "_listener", Exhausted(listener))
    asker = Program(host)
    host.turn()
    assert not select_readable(host)
    monkeypatch.setattr(host.server, "_listener", listener)
    host.now_ns = REST_NS
    host.turn()
    asker.send("hello")
    host.turn()
    assert asker.hear() == {"ok": {"did": "hello"}}
    asker.close()


def test_the_socket_is_for_user_and_group_from_its_first_moment_and_gone_at_the_end(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert stat.S_IMODE(host.path.stat().st_mode) == server_.MODE
    host.server.close()
    assert not host.path.exists()


def test_what_a_killed_agent_left_behind_is_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    assert own_path() == tmp_path / "run" / f"{os.getpid()}.sock"
    for name in ("4194305", "1"):  # no process has a number above pid_max; the first process always lives
        (tmp_path / "run" / f"{name}.sock").touch()
    sweep(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["1.sock"]
