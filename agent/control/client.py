"""A port in, the running agent that has it out; requests to it in, what came of them out."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent.acquire.pdu import Ask
from agent.acquire.port import whereabouts
from agent.control import protocol
from agent.control.protocol import AgentError, Facts
from agent.control.sockets import all_paths
from agent.errors import BusError, ExitCode, FieldtapError

FIND_S = 5.0  # an agent that lives says at once which ports it has, unless it waits for a slow card
ANSWER_S = 120.0  # a write is three requests; each waits up to 10 s for the line, and then for its answer


class AgentBus:
    """One bus of a running agent, connected: requests are made one by one, between its polls."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lines = link.makefile("rb")
        self.name = ""

    def close(self) -> None:
        """Disconnect."""
        self._lines.close()
        self._link.close()

    def find(self, port: str) -> bool:
        """Whether this agent's configuration has the port; then everything else is about its bus.

        One that hangs, ends or is of another version has not: if it has the port all the same, that is taken.
        """
        self._link.settimeout(FIND_S)
        try:
            self.name = self.call("bus", port=whereabouts(port))["bus"] or ""
        except FieldtapError:
            return False
        self._link.settimeout(ANSWER_S)
        return bool(self.name)

    def ask(self, ask: Ask) -> bytes:
        """The PDU that answers. Raises DeviceError when it refuses, BusError when none comes, else AgentError."""
        try:
            facts = self.call("ask", bus=self.name, unit=ask.unit, pdu=ask.request.hex())
        except AgentError as error:
            if error.exit_code is ExitCode.UNAVAILABLE:
                raise BusError(str(error)) from error
            raise
        return bytes.fromhex(facts["pdu"])

    def call(self, do: str, **facts: Any) -> Facts:
        """What a request has brought. Raises AgentError, or DeviceError when a device refused."""
        try:
            self._link.sendall(protocol.request_line(do, facts))
            line = self._lines.readline()
        except OSError as error:
            raise AgentError(f"the running agent does not answer: {error}", ExitCode.UNAVAILABLE) from error
        if not line:
            raise AgentError("the running agent has ended meanwhile", ExitCode.UNAVAILABLE)
        return protocol.read_answer(line)


@contextmanager
def owner(port: str) -> Iterator[AgentBus | None]:
    """The bus of the running agent that has this port; None: no agent that this user may ask has it."""
    for path in all_paths():
        link = _connected(path)
        if link is None:
            continue
        with closing(AgentBus(link)) as bus:
            if bus.find(port):
                yield bus
                return
    yield None


def _connected(path: Path) -> socket.socket | None:
    """None: its agent was killed, or is another user's."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(FIND_S)
    try:
        link.connect(str(path))
    except OSError:
        link.close()
        return None
    return link
