"""Connect, Publish and Drop come in; Connected, Acknowledged and Disconnected go out, through the network thread.

That thread owns paho: it looks up names, connects, shakes hands and does all reading and writing, so nothing a broker
or a network does can block the agent. What it does for one connection is in mqtt.py.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from agent.config.model import Mqtt
from agent.uplink.events import Action, Connect, Drop, Event
from agent.uplink.mqtt import Command, Connection, Quit, clear, endpoint_of

NEWEST, FALLBACK = 5, 4  # protocol levels: MQTT 5, MQTT 3.1.1


class Link:
    """The connection to one broker, made and remade on demand; only one thread of the agent may use it."""

    def __init__(self, settings: Mqtt, client_id: str) -> None:
        self._settings = settings
        self._endpoint = endpoint_of(settings)
        self._client_id = client_id
        self._commands: SimpleQueue[tuple[int, Command]] = SimpleQueue()  # bounded by the session's window
        self._events: SimpleQueue[tuple[int, Event]] = SimpleQueue()  # at most one answer to each command
        self._for_agent = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._for_network = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._number = 0  # of the connection; what older ones still report is void
        self._thread = Thread(target=self._run, name="mqtt", daemon=True)  # a daemon: a name lookup cannot be stopped

    def start(self) -> None:
        """Let the network thread wait for the first Connect."""
        self._thread.start()

    def fileno(self) -> int:
        """Readable when events() has something."""
        return self._for_agent

    def do(self, actions: Sequence[Action]) -> None:
        """Hand these to the network thread, and wake it once."""
        for action in actions:
            if isinstance(action, Connect | Drop):
                self._number += 1
            self._commands.put((self._number, action))
        if actions:
            os.eventfd_write(self._for_network, 1)

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        clear(self._for_agent)
        events = []
        with suppress(Empty):
            while True:
                number, event = self._events.get_nowait()
                if number == self._number:
                    events.append(event)
        return events

    def close(self, timeout_s: float) -> None:
        """Say goodbye to the broker and end the thread; one that hangs in a name lookup or connect is left behind."""
        if self._thread.is_alive():
            self._commands.put((self._number, Quit()))
            os.eventfd_write(self._for_network, 1)
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            os.close(self._for_agent)
            os.close(self._for_network)

    # --- in the network thread

    def _run(self) -> None:
        level, proven = NEWEST, False
        while True:
            number, command = self._commands.get()
            if isinstance(command, Quit):
                return
            if not isinstance(command, Connect):
                continue  # meant for a connection that has ended meanwhile
            connection = self._attempt(number, level)
            ending = connection.ending()
            if connection.level_refused or (connection.hung_up_early and not proven):
                level = FALLBACK if level == NEWEST else NEWEST
            if connection.level_refused and not connection.quitting:
                connection = self._attempt(number, level)
                ending = ending if connection.hung_up_early else connection.ending()
            proven = proven or connection.accepted
            self._post(number, ending)
            if connection.quitting:
                return

    def _attempt(self, number: int, level: int) -> "Connection":
        def post(event: Event) -> None:
            self._post(number, event)

        connection = Connection(self._endpoint, level, post)
        connection.run(self._settings, self._client_id, self._commands, self._for_network)
        return connection

    def _post(self, number: int, event: Event) -> None:
        self._events.put((number, event))
        os.eventfd_write(self._for_agent, 1)
