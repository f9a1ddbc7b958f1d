"""Which of the agents that run here has a port: also when another one of them hangs, or is of another version."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread

import pytest

from agent.control import client
from agent.control.client import owner

ANSWERS = {
    "hangs": None,
    "ends": b"",
    "is of another version": b"[]\n",
    "has another port": b'{"ok": {"bus": null}}\n',
}


def serve(listener: socket.socket, answer: bytes | None, held: ExitStack) -> None:
    link, _ = listener.accept()
    held.callback(link.close)
    link.recv(1000)
    if answer is not None:
        link.sendall(answer)
        with suppress(OSError):  # the test may have got what it wanted, and ended
            link.shutdown(socket.SHUT_WR)


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes | None]]:
    """Agents by name, in the order in which they are asked; each answers its first request."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(client, "FIND_S", 0.2)
    answers = {**ANSWERS, "has it": json.dumps({"ok": {"bus": "line"}}).encode() + b"\n"}
    with ExitStack() as held:
        for number, answer in enumerate(answers.values()):
            listener = held.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(tmp_path / f"{number}.sock"))
            listener.listen()
            Thread(target=serve, args=(listener, answer, held), daemon=True).start()
        yield answers


@pytest.mark.usefixtures("agents")
def test_an_agent_that_cannot_say_what_it_has_keeps_nobody_from_the_one_that_has_the_port() -> None:
    with owner("/dev/ttyS99") as bus:
        assert bus is not None
        assert bus.name == "line"
