"""The simulator's ports: real ptys and sockets, links, faults, and a stop that always succeeds."""

import os
import select
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

import msgspec
import pytest

from agent._native.codec import RTU, TCP, frame
from agent.acquire.once import Line
from agent.acquire.pdu import Ask
from agent.config.model import Device, Table
from agent.errors import BusError, ConfigError, UsageError
from agent.model import ValueType
from agent.simulate.signal import is_right
from agent.simulate.simulator import Simulator

DEADLINE_S = 10.0
S = 1_000_000_000
READ_ONE = b"\x03\x00\x64\x00\x01"


@pytest.fixture
def device(make_tag):
    return Device(name="d", unit=7, tags=(make_tag("t", Table.HOLDING, 100),))


@pytest.fixture
def start():
    """A started Simulator; all are stopped in the end."""
    started = []

    def run(config, **options):
        simulator = Simulator(config, **options)
        simulator.start()
        started.append(simulator)
        return simulator

    yield run
    for simulator in started:
        simulator.stop()


class Port:
    """A master's end of a path that the simulator printed."""

    def __init__(self, path: str) -> None:
        self.is_tcp = path.startswith("tcp://")
        self._socket = None
        if "://" in path:
            url = urlsplit(path)
            self._socket = socket.create_connection((url.hostname, url.port))
            self.fd = self._socket.fileno()
        else:
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)

    def close(self) -> None:
        """May be repeated."""
        if self._socket is not None:
            self._socket.close()
        elif self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def ask(self, pdu: bytes, unit: int = 7) -> bytes:
        """The answer's PDU."""
        os.write(self.fd, frame(TCP if self.is_tcp else RTU, 1, unit, pdu))
        answer = self.read(11 if self.is_tcp else 7)
        return answer[7:] if self.is_tcp else answer[1:-2]

    def read(self, n: int) -> bytes:
        got = b""
        while len(got) < n:
            assert select.select([self.fd], [], [], DEADLINE_S)[0], f"{len(got)} of {n} bytes came"
            piece = os.read(self.fd, n - len(got))
            assert piece, "hung up"
            got += piece
        return got

    def is_hung_up(self) -> bool:
        assert select.select([self.fd], [], [], DEADLINE_S)[0]
        return os.read(self.fd, 1) == b""


@pytest.fixture
def connect():
    """Open a path that the simulator printed; all are closed in the end."""
    opened = []

    def run(path):
        opened.append(Port(path))
        return opened[-1]

    yield run
    for port in opened:
        port.close()


@pytest.fixture
def check(connect, device):
    """See that the bus at a path serves the device's value of now."""

    def run(simulator, bus):
        port = connect(simulator.paths[bus])
        pdu = port.ask(READ_ONE)
        port.close()
        assert pdu[:2] == b"\x03\x02"
        assert is_right(device.tags[0], 7, int.from_bytes(pdu[2:]), time.time_ns(), S)

    return run


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 # iterdir() is lazy and would count itself


@pytest.mark.parametrize("pace", [False, True])
@pytest.mark.parametrize(
    "ports",
    [
        ["/dev/ttyUSB0"],
        ["/dev/ttyUSB0", "usb:1a86:7523"],
        ["tcp://192.0.2.1:502"],
        ["rtu+tcp://localhost:0"],
        ["/dev/ttyUSB0", "tcp://10.0.0.1", "rtu+tcp://10.0.0.2:4001", "tcp://127.0.0.1:0", "/dev/ttyAMA0"],
    ],
    ids=["one line", "two lines", "Modbus TCP", "RTU over TCP", "all kinds"],
)
def test_every_bus_answers_at_its_path(ports, pace, start, make_config, make_bus, device, check):
    buses = [
        make_bus(f"b{n}", device, port=port, protocol="modbus-tcp" if port.startswith("tcp:") else "modbus-rtu")
        for n, port in enumerate(ports)
    ]
    simulator = start(make_config(*buses), pace=pace)
    assert list(simulator.paths) == [bus.name for bus in buses]
    for bus in buses:
        check(simulator, bus.name)
    simulator.stop()
    for counted in simulator.stats().values():
        assert {key: counted[key] for key in ("requests", "answered", "values")} == {
            "requests": 1, "answered": 1, "values": 1,
        }  # fmt: skip


def test_a_loopback_port_of_the_configuration_is_used_when_it_is_free(start, make_config, make_bus, device, check):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    bus = make_bus("net", device, port=f"tcp://localhost:{port}", protocol="modbus-tcp")
    assert start(make_config(bus)).paths["net"] == f"tcp://127.0.0.1:{port}"
    second = start(make_config(bus))
    assert second.paths["net"] != f"tcp://127.0.0.1:{port}"
    check(second, "net")


def test_lines_are_linked_by_their_names_and_the_links_go_with_the_simulator(
    tmp_path, start, make_config, make_bus, device, check
):
    links = tmp_path / "new" / "folder"
    simulator = start(make_config(make_bus("a", device), make_bus("b", device)), link_dir=links)
    assert simulator.paths == {"a": str(links / "a"), "b": str(links / "b")}
    check(simulator, "b")
    simulator.stop()
    assert list(links.iterdir()) == []


def test_a_link_that_is_left_over_is_replaced_and_one_that_is_new_is_left_alone(
    tmp_path, start, make_config, make_bus, device, check
):
    (tmp_path / "a").symlink_to("/dev/pts/left-over")
    simulator = start(make_config(make_bus("a", device)), link_dir=tmp_path)
    check(simulator, "a")
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("/dev/pts/of-somebody-else")
    simulator.stop()
    assert (tmp_path / "a").is_symlink()


def test_a_link_that_another_simulator_has_is_refused_with_who_has_it(
    tmp_path, start, make_config, make_bus, device, check
):
    first = start(make_config(make_bus("a", device)), link_dir=tmp_path)
    link, open_before = (tmp_path / "a").readlink(), open_descriptors()
    with pytest.raises(
        BusError, match=rf"^{tmp_path}/a belongs to another `fieldtap simulate` \(pid {os.getpid()}\); end that one, or"
    ):
        Simulator(make_config(make_bus("a", device)), link_dir=tmp_path).start()
    assert (tmp_path / "a").readlink() == link
    assert open_descriptors() == open_before
    check(first, "a")
    other = start(make_config(make_bus("b", device)), link_dir=tmp_path)
    check(other, "b")


def test_the_links_of_a_simulator_that_has_stopped_are_free(tmp_path, start, make_config, make_bus, device, check):
    for _ in range(3):
        simulator = start(make_config(make_bus("a", device)), link_dir=tmp_path)
        check(simulator, "a")
        simulator.stop()
        assert list(tmp_path.iterdir()) == []


def test_a_link_to_what_is_no_pty_is_not_touched(tmp_path, make_config, make_bus, device):
    (tmp_path / "a").symlink_to("/dev/ttyUSB0")
    with pytest.raises(BusError, match=f"^{tmp_path}/a is a link to /dev/ttyUSB0, which is no simulator's; remove it"):
        Simulator(make_config(make_bus("a", device)), link_dir=tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_where_the_link_should_be_is_not_touched(tmp_path, make_config, make_bus, device):
    (tmp_path / "a").write_text("precious")
    open_before = open_descriptors()
    with pytest.raises(BusError, match=f"bus a: cannot be simulated: {tmp_path}/a: File exists$"):
        Simulator(make_config(make_bus("a", device)), link_dir=tmp_path).start()
    assert (tmp_path / "a").read_text() == "precious"
    assert open_descriptors() == open_before


def test_stopping_gives_all_descriptors_back(make_config, make_bus, device, connect):
    open_before = open_descriptors()
    buses = [make_bus("a", device), make_bus("n", device, port="tcp://1.2.3.4:1", protocol="modbus-tcp")]
    simulator = Simulator(make_config(*buses))
    simulator.start()
    port = connect(simulator.paths["n"])
    port.ask(READ_ONE)
    simulator.stop()
    assert port.is_hung_up()
    del simulator
    port.close()
    assert open_descriptors() == open_before


@pytest.mark.parametrize("lines", [1, 2], ids=["blocking loop", "event loop"])
def test_stop_succeeds_though_a_master_never_reads_its_answers(lines, make_config, make_bus, device):
    simulator = Simulator(make_config(*[make_bus(f"b{n}", device) for n in range(lines)]))
    simulator.start()
    fd = os.open(simulator.paths["b0"], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    request = frame(RTU, 0, 7, b"\x03\x00\x00\x00\x7d")
    until = time.monotonic() + DEADLINE_S
    while simulator.stats()["b0"]["requests"] < 1000 and _can_write(fd) and time.monotonic() < until:
        os.write(fd, request)
    stopper = threading.Thread(target=simulator.stop, daemon=True)
    stopper.start()
    stopper.join(DEADLINE_S)
    assert not stopper.is_alive()
    os.close(fd)


def _can_write(fd: int) -> bool:
    return bool(select.select([], [fd], [], 0.3)[1])


def test_a_line_outlives_its_masters(start, make_config, make_bus, device, connect):
    simulator = start(make_config(make_bus("b", device)))
    for _ in range(3):
        port = connect(simulator.paths["b"])
        assert port.ask(READ_ONE)[:2] == b"\x03\x02"
        port.close()


def test_eight_connections_are_served_at_once_and_a_ninth_is_turned_away(start, make_config, make_bus, device, connect):
    simulator = start(make_config(make_bus("n", device, port="tcp://1.2.3.4:1", protocol="modbus-tcp")))
    ports = [connect(simulator.paths["n"]) for _ in range(8)]
    assert all(port.ask(READ_ONE)[:2] == b"\x03\x02" for port in ports)
    assert connect(simulator.paths["n"]).is_hung_up()
    ports.pop().close()
    assert ports[0].ask(READ_ONE)[:2] == b"\x03\x02"
    assert simulator.stats()["n"]["connections"] == 8


def test_who_does_not_speak_modbus_tcp_is_hung_up_on(start, make_config, make_bus, device, check, connect):
    simulator = start(make_config(make_bus("n", device, port="tcp://1.2.3.4:1", protocol="modbus-tcp")))
    port = connect(simulator.paths["n"])
    os.write(port.fd, b"GET / HTTP/1.1\r\n\r\n")
    assert port.is_hung_up()
    check(simulator, "n")


def test_requests_sent_ahead_over_tcp_are_all_answered(start, make_config, make_bus, device, connect):
    simulator = start(make_config(make_bus("n", device, port="tcp://1.2.3.4:1", protocol="modbus-tcp")))
    port = connect(simulator.paths["n"])
    os.write(port.fd, b"".join(frame(TCP, number, 7, READ_ONE) for number in range(500)))
    answers = port.read(500 * 11)
    assert [struct.unpack_from(">H", answers, at)[0] for at in range(0, len(answers), 11)] == list(range(500))


def test_answers_that_are_due_together_go_to_those_who_asked(start, make_config, make_bus, device, connect):
    bus = make_bus("n", device, port="tcp://1.2.3.4:1", protocol="modbus-tcp")
    simulator = start(make_config(bus), faults=["late:1:20"])
    ports = [connect(simulator.paths["n"]) for _ in range(8)]
    for turn in range(10):
        for number, port in enumerate(ports):
            os.write(port.fd, frame(TCP, 10 * turn + number, 7, READ_ONE))
        for number, port in enumerate(ports):
            assert struct.unpack(">H", port.read(11)[:2])[0] == 10 * turn + number


def test_an_unpaced_line_can_be_late(start, make_config, make_bus, device, check):
    simulator = start(make_config(make_bus("b", device)), faults=["late:1:30"])
    before = time.monotonic()
    check(simulator, "b")
    assert time.monotonic() - before > 0.03


def test_a_paced_answer_takes_its_time_on_the_line(start, make_config, make_bus, device, check):
    simulator = start(make_config(make_bus("b", device, baud=1200)), pace=True)
    before = time.monotonic()
    check(simulator, "b")
    characters = 8 + 3.5 + 7
    assert time.monotonic() - before > characters * 10 / 1200


def test_faults_can_be_limited_to_one_bus(start, make_config, make_bus, device, check, connect):
    simulator = start(make_config(make_bus("a", device), make_bus("b", device)), faults=["a=exception:1:4"])
    port = connect(simulator.paths["a"])
    os.write(port.fd, frame(RTU, 0, 7, READ_ONE))
    assert port.read(5)[1:3] == b"\x83\x04"
    check(simulator, "b")
    assert [simulator.stats()[bus]["faults"]["exception"] for bus in ("a", "b")] == [1, 0]


def test_a_fault_of_an_unknown_bus_is_refused(make_config, make_bus, device):
    with pytest.raises(UsageError, match="--fault c=drop: no such bus; there are a, b"):
        Simulator(make_config(make_bus("a", device), make_bus("b", device)), faults=["c=drop:1"])


OTHER_WAYS = {
    "ASCII on a line": {"port": "/dev/ttyUSB0", "protocol": "modbus-ascii", "data_bits": 7},
    "ASCII over TCP": {"port": "ascii+tcp://10.0.0.1:4001", "protocol": "modbus-ascii"},
    "ASCII in datagrams": {"port": "ascii+udp://10.0.0.1:4001", "protocol": "modbus-ascii"},
    "RTU in datagrams": {"port": "rtu+udp://10.0.0.1:4001"},
    "Modbus UDP": {"port": "udp://10.0.0.1", "protocol": "modbus-tcp"},
}


@pytest.mark.parametrize("pace", [False, True])
@pytest.mark.parametrize("way", OTHER_WAYS)
def test_every_way_to_carry_a_bus_is_played(start, make_config, make_bus, device, way, pace):
    bus = make_bus("b", device, **OTHER_WAYS[way])
    simulator = start(make_config(bus), pace=pace)
    for client in range(10):  # more than datagrams have streams
        with Line(msgspec.structs.replace(bus, port=simulator.paths["b"], timeout_ns=int(DEADLINE_S * S))) as line:
            for function in (3, 6):
                request = READ_ONE if function == 3 else bytes([6, 0, 0, 0, client])
                pdu = line.ask(Ask(7, request))
                assert pdu[:1] == request[:1]
    simulator.stop()
    assert simulator.stats()["b"]["answered"] == 20
    assert simulator.stats()["b"]["garbage_bytes"] == 0


def test_a_bus_over_tls_is_played_in_plain(start, make_config, make_bus, device, check):
    simulator = start(make_config(make_bus("b", device, port="tls://10.0.0.1", protocol="modbus-tcp")))
    assert simulator.paths["b"].startswith("tcp://127.0.0.1:")
    check(simulator, "b")


def test_half_a_request_in_a_datagram_does_not_spoil_the_next(start, make_config, make_bus, device):
    simulator = start(make_config(make_bus("b", device, port="udp://10.0.0.1", protocol="modbus-tcp")))
    url = urlsplit(simulator.paths["b"])
    request = frame(TCP, 9, 7, READ_ONE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as master:
        master.settimeout(DEADLINE_S)
        master.connect((url.hostname, url.port))
        for datagram in (request[:5], b"", b"no Modbus at all", request):
            master.send(datagram)
        assert master.recv(100)[:2] == b"\x00\x09"


@pytest.mark.parametrize("fault", ["crc:1", "truncate:1", "drop:1", "wrong-unit:1", "dead:7"])
def test_devices_of_ascii_have_the_same_faults(start, make_config, make_bus, device, fault):
    bus = make_bus("b", device, protocol="modbus-ascii", data_bits=7, port="/dev/ttyUSB0")
    simulator = start(make_config(bus), faults=[fault])
    impatient = msgspec.structs.replace(bus, port=simulator.paths["b"], timeout_ns=S // 20)
    with Line(impatient) as line, pytest.raises(BusError):
        line.ask(Ask(7, READ_ONE))
    simulator.stop()
    assert simulator.stats()["b"]["faults"][fault.partition(":")[0]] == 1


@pytest.mark.parametrize("spec", ["dead:9", "a=dead:9"])
def test_a_dead_unit_that_no_device_has_is_refused(make_config, make_bus, device, spec):
    with pytest.raises(UsageError, match="--fault dead:9: no device has that unit; there are 7"):
        Simulator(make_config(make_bus("a", device)), faults=[spec])


def test_a_protocol_that_cannot_be_played_is_refused(make_config, make_bus, device):
    with pytest.raises(ConfigError, match="bus a: this version cannot simulate protocol stream"):
        Simulator(make_config(make_bus("a", device, protocol="stream")))


def test_tags_that_cannot_be_checked_are_named(make_config, make_bus, make_tag):
    overlapping = Device(
        name="d", unit=1, tags=(make_tag("x", Table.HOLDING, 1, ValueType.U32), make_tag("y", Table.HOLDING, 2))
    )
    assert Simulator(make_config(make_bus("a", overlapping))).conflicts == ["a/d/y"]
