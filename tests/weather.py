"""A session, an outbox, and a model of link and broker in virtual time."""

from collections import deque

from agent.model import NS_PER_S
from agent.uplink.events import Acknowledged, Connect, Connected, Disconnected, Drop, Terms
from agent.uplink.session import Limits, Session
from agent.uplink.topics import Topics

LIMITS = Limits()
SCHEMAS = {b"schema-a": b"A", b"schema-b": b"B"}
QUOTA, NOT_AUTHORISED, TOPIC_INVALID, TOO_LARGE, BAD_FORMAT, UNSPECIFIED = 0x97, 0x87, 0x90, 0x95, 0x99, 0x80


USUAL_TERMS = Terms()


class Weather:
    """A link and a broker in virtual time: bytes arrive in order or, after a cut, not at all."""

    def __init__(self, outbox, schemas=None, limits=LIMITS, random=lambda: 0.5):
        self.outbox = outbox
        self.schemas = {} if schemas is None else schemas
        self.session = Session(outbox, lambda: self.schemas, Topics("f/{gateway}/{kind}", "g"), random, limits)
        self.limits = limits
        self.now = 1_000 * NS_PER_S
        self.connecting = False
        self.way_there = deque()  # publishes that have not reached the broker
        self.way_back = []  # publishes that the broker has and has not acknowledged
        self.delivered = []  # every publish that reached the broker
        self.sent_on = []  # per connection: every publish
        self.drops = 0
        self.step()

    def step(self):
        for action in self.session.step(self.now):
            if isinstance(action, Connect):
                assert not self.connecting
                self.connecting = True
            elif isinstance(action, Drop):
                self.drops += 1
                self._lose()
            else:
                self.way_there.append(action)
                self.sent_on[-1].append(action)

    def report(self, event):
        self.session.handle(event, self.now)
        self.step()

    def wait(self, ns):
        self.now += ns
        self.step()

    def wait_until_connecting(self):
        while not self.connecting:
            self.now = max(self.now, self.session.deadline_ns())
            self.step()

    def accept(self, terms=USUAL_TERMS):
        self.connecting = False
        self.sent_on.append([])
        self.report(Connected(terms))

    def refuse(self):
        self.connecting = False
        self.report(Disconnected("refused"))

    def cut(self, code=0):
        self._lose()
        self.report(Disconnected("cut", code))

    def arrive(self, count=1):
        for _ in range(min(count, len(self.way_there))):
            self.delivered.append(self.way_there.popleft())
            self.way_back.append(self.delivered[-1])

    def acknowledge(self, index=0, code=0):
        self.report(Acknowledged(self.way_back.pop(index).token, code))

    def deliver_all(self):
        """Good weather until nothing is left to send."""
        while self.way_there or self.way_back:
            self.arrive(len(self.way_there))
            self.acknowledge()

    def data(self, publishes=None):
        publishes = self.delivered if publishes is None else publishes
        return [int.from_bytes(publish.payload[:8]) for publish in publishes if "/data" in publish.topic]

    def _lose(self):
        self.way_there.clear()
        self.way_back.clear()
