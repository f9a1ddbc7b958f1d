"""A port in, a way to its devices out: the port itself, or the running agent that has it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from agent.acquire.once import Line
from agent.config.model import Bus
from agent.control.client import AgentBus, owner


@contextmanager
def way_to(bus: Bus) -> Iterator[Line | AgentBus]:
    """Requests go through the agent that has the port, between its polls; without one the port is opened.

    Raises BusError or NotPermittedError where the port cannot be opened.
    """
    with owner(bus.port) as agent:
        if agent is not None:
            print(f"fieldtap: {bus.port} is bus {agent.name} of a running agent, which is asked", file=sys.stderr)
            yield agent
            return
    with Line(bus) as line:
        yield line
