"""A simulated bus for foreign masters, and foreign devices for our master."""

import pytest

from agent.config.model import Bus, Config, Device, Gateway, Store, Table, Tag
from agent.config.ports import PROTOCOLS, RTU, scheme_of
from agent.model import ValueType
from agent.simulate.simulator import Simulator

S = 1_000_000_000
UNIT = 17


@pytest.fixture
def make_config():
    """A configuration of one bus."""

    def make(port, tags=(), **settings):
        protocol = PROTOCOLS.get(scheme_of(port), RTU)
        device = Device(name="device", unit=UNIT, tags=tuple(tags))
        settings = {"parity": "N", "baud": 115200, "timeout_ns": S, **settings}
        bus = Bus(**{"name": "bus", "port": port, "protocol": protocol, "devices": (device,), **settings})
        return Config(gateway=Gateway(id="test"), mqtt=None, store=Store(), buses=(bus,))

    return make


@pytest.fixture(params=["/dev/ttyS99", "tcp://127.0.0.1:0"], ids=["pty", "tcp"])
def simulated(request, make_config):
    """Where a simulated unit 17 listens whose holding:100 is an f32; over a line and over TCP."""
    simulator = Simulator(make_config(request.param, [float_tag()]))
    simulator.start()
    yield simulator.paths["bus"]
    simulator.stop()


def float_tag():
    return Tag(name="f", table=Table.HOLDING, address=100, type=ValueType.F32, length=2, every_ns=S)


@pytest.fixture
def tag():
    """The tag that stands at holding:100."""
    return float_tag()
