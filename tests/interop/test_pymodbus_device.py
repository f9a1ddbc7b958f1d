"""pymodbus's server as an independent device for our master: `fieldtap read`, and the bus loop over line and socket."""

import json
import select
import ssl
import time

import pytest
from certificates import Authority
from layouts import records
from pump import Pump
from pymodbus import ModbusDeviceIdentification
from pymodbus.datastore import (
    ModbusDeviceContext,
    ModbusSequentialDataBlock,
    ModbusServerContext,
)
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer, ModbusUdpServer
from serving import Serving

from agent._native.samples import Samples
from agent.acquire import pdu
from agent.acquire.audit import Audit
from agent.acquire.bus import Acquisition
from agent.acquire.inquiry import COUNTERS
from agent.acquire.once import Line, driven
from agent.acquire.plan import compile_plan
from agent.acquire.write import held
from agent.acquire.writer import Writer
from agent.cli import main
from agent.clock import boot_ns
from agent.config.model import Table, Tag, Write
from agent.errors import BusError
from agent.model import Order, Quality, ValueType

S = 1_000_000_000
DEADLINE_S = 15.0
UNIT = 17
HOLDING = [7 * at % 65536 for at in range(200)]  # address 0 on
INPUT = [65535 - 11 * at for at in range(200)]
COILS = [at % 3 == 0 for at in range(300)]
IDENTITY = ModbusDeviceIdentification(info_name={"VendorName": "maker", "ProductCode": "M1", "MajorMinorRevision": "2"})


def context():
    """pymodbus's blocks count from 1."""
    tables = {"hr": HOLDING, "ir": INPUT, "co": COILS, "di": [not coil for coil in COILS]}
    blocks = {name: ModbusSequentialDataBlock(1, list(values)) for name, values in tables.items()}
    return ModbusServerContext(devices={UNIT: ModbusDeviceContext(**blocks)}, single=False)


@pytest.fixture
def line_device():
    pump = Pump()
    serving = Serving(
        lambda: ModbusSerialServer(context(), identity=IDENTITY, port=pump.paths[0], baudrate=115200, parity="N")
    )
    yield pump.paths[1]
    serving.stop()
    pump.close()


@pytest.fixture
def tcp_device():
    serving = Serving(lambda: ModbusTcpServer(context(), identity=IDENTITY, address=("127.0.0.1", 0)))
    host, port = serving.server.transport.sockets[0].getsockname()
    yield f"tcp://{host}:{port}"
    serving.stop()


class Place(str):
    """A port, how commands are told of it, and how a bus is."""

    __slots__ = ("settings", "words")

    def __new__(cls, port, words=(), **settings):
        place = super().__new__(cls, port)
        place.words, place.settings = list(words), settings
        return place


@pytest.fixture
def ascii_device():
    pump = Pump()
    settings = {"port": pump.paths[0], "baudrate": 115200, "parity": "N", "framer": FramerType.ASCII}
    serving = Serving(lambda: ModbusSerialServer(context(), identity=IDENTITY, **settings))
    yield Place(pump.paths[1], ["--protocol", "modbus-ascii"], protocol="modbus-ascii", data_bits=7)
    serving.stop()
    pump.close()


@pytest.fixture
def ascii_tcp_device():
    serving = Serving(
        lambda: ModbusTcpServer(context(), identity=IDENTITY, address=("127.0.0.1", 0), framer=FramerType.ASCII)
    )
    yield f"ascii+tcp://127.0.0.1:{serving.server.transport.sockets[0].getsockname()[1]}"
    serving.stop()


def datagrams(scheme, framer):
    serving = Serving(lambda: ModbusUdpServer(context(), identity=IDENTITY, address=("127.0.0.1", 0), framer=framer))
    yield f"{scheme}://127.0.0.1:{serving.server.transport.get_extra_info('sockname')[1]}"
    serving.stop()


@pytest.fixture
def udp_device():
    yield from datagrams("udp", FramerType.SOCKET)


@pytest.fixture
def rtu_udp_device():
    yield from datagrams("rtu+udp", FramerType.RTU)


@pytest.fixture
def tls_device(tmp_path):
    authority = Authority(tmp_path)
    context_ = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context_.load_cert_chain(*authority.issue("device"))
    context_.load_verify_locations(authority.ca)
    context_.verify_mode = ssl.CERT_REQUIRED
    cert, key = map(str, authority.issue("client"))
    serving = Serving(
        lambda: ModbusTlsServer(
            context(), identity=IDENTITY, address=("127.0.0.1", 0), framer=FramerType.SOCKET, sslctx=context_
        )
    )
    number = serving.server.transport.sockets[0].getsockname()[1]
    words = ["--ca", str(authority.ca), "--cert", cert, "--key", key]
    yield Place(f"tls://127.0.0.1:{number}", words, ca=str(authority.ca), cert=cert, key=key)
    serving.stop()


@pytest.fixture(params=["line", "tcp", "ascii", "ascii_tcp", "udp", "rtu_udp", "tls"])
def device(request):
    """Where pymodbus serves unit 17."""
    return request.getfixturevalue(f"{request.param}_device")


def words_of(device):
    where = ["--unit", str(UNIT), "--baud", "115200", "--parity", "N", "--timeout", "5000"]
    return [*where, *getattr(device, "words", [])]


def settings_of(device):
    return {"timeout_ns": 5 * S, **getattr(device, "settings", {})}


def read(capsys, device, *words):
    code = main(["read", str(device), *words_of(device), *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["holding:5:4"], HOLDING[5:9]),
        (["input:0:199"], INPUT[:199]),
        (["coil:3:10"], [int(coil) for coil in COILS[3:13]]),
        (["discrete:0:3"], [0, 1, 1]),
        (["holding:10:2", "--type", "u32", "--order", "CDAB"], [(77 << 16) + 70, (91 << 16) + 84]),
    ],
)
def test_fieldtap_read_reads_what_pymodbus_serves(words, values, device, capsys):
    code, out, err = read(capsys, device, *words, "--json")
    assert (code, err) == (0, "")
    assert [value["v"] for value in json.loads(out)["values"]] == values


def test_fieldtap_read_tells_what_pymodbus_refuses(device, capsys):
    code, _, err = read(capsys, device, "holding:5000")
    assert code == 1
    assert "answered exception 2: it has no such register" in err


TAGS = (
    Tag(name="h", table=Table.HOLDING, address=9, type=ValueType.U16, every_ns=S // 50),
    Tag(name="w", table=Table.HOLDING, address=20, type=ValueType.U32, length=2, order=Order.CDAB, every_ns=S // 50),
    Tag(name="i", table=Table.INPUT, address=150, type=ValueType.I16, every_ns=S // 50),
    Tag(name="c", table=Table.COIL, address=6, type=ValueType.BOOL, every_ns=S // 50),
    Tag(name="d", table=Table.DISCRETE, address=6, type=ValueType.BOOL, every_ns=S // 50),
)
VALUES = [HOLDING[9], (HOLDING[21] << 16) + HOLDING[20], (INPUT[150] - 65536) % (1 << 64), 1, 0]


def test_the_bus_loop_reads_what_pymodbus_serves(device, make_config):
    config = make_config(str(device), TAGS, **settings_of(device))
    acquisition = Acquisition(config.buses, compile_plan(config))
    samples = Samples()
    acquisition.start()
    try:
        until = time.monotonic() + DEADLINE_S
        while acquisition.stats()["bus"].counts.ok < 40 and time.monotonic() < until:
            select.select([acquisition.fileno()], [], [], 0.05)
            acquisition.drain(samples)
    finally:
        acquisition.stop()
    acquisition.drain(samples)
    good = [(sample.tag, sample.value) for sample in records(samples) if sample.quality == Quality.GOOD]
    assert len(good) >= 40
    assert set(good) == set(enumerate(VALUES))
    counts = acquisition.stats()["bus"].counts
    assert (counts.crc_errors, counts.exceptions) == (0, 0)


# --- writes, and what else a gateway asks for ---


@pytest.mark.parametrize(
    ("register", "value", "options"),
    [
        ("holding:5", "4711", []),
        ("holding:5", "4712", ["--function", "16"]),
        ("holding:5", "-0.5", ["--type", "f32", "--order", "CDAB"]),
        ("holding:5", "5", ["--type", "bits:3@4"]),
        ("holding:5", "4713", ["--function", "23"]),
        ("coil:6", "0", []),
        ("coil:7", "1", ["--function", "15"]),
    ],
)
def test_fieldtap_write_writes_what_pymodbus_then_serves(register, value, options, device, capsys):
    assert main(["write", str(device), *words_of(device), register, value, "--yes", *options]) == 0
    said = capsys.readouterr()
    assert (said.out.split()[-1], said.err) == (value, "")
    reading = options if "--type" in options else []
    assert read(capsys, device, register, *reading)[1].split()[1] == value


def test_fieldtap_write_tells_what_pymodbus_refuses(device, capsys):
    assert main(["write", str(device), *words_of(device), "holding:5000", "1", "--yes"]) == 1
    assert "refused: " in capsys.readouterr().err


WRITABLE = (
    Tag(name="word", table=Table.HOLDING, address=30, type=ValueType.U16, every_ns=S // 50, write=Write(min=0, max=9)),
    Tag(
        name="real",
        table=Table.HOLDING,
        address=40,
        type=ValueType.F32,
        length=2,
        every_ns=S // 50,
        write=Write(min=-9, max=9),
    ),
    Tag(
        name="bits",
        table=Table.HOLDING,
        address=50,
        type=ValueType.BITS,
        bits=3,
        shift=4,
        every_ns=S // 50,
        write=Write(min=0, max=7, function=22),
    ),
    Tag(name="coil", table=Table.COIL, address=60, type=ValueType.BOOL, every_ns=S // 50, write=Write(min=0, max=1)),
    Tag(
        name="coils",
        table=Table.COIL,
        address=70,
        type=ValueType.BOOL,
        every_ns=S // 50,
        write=Write(min=0, max=1, function=15),
    ),
)


def test_the_agent_writes_tags_between_its_polls_and_pymodbus_holds_them(device, make_config, tmp_path):
    config = make_config(str(device), WRITABLE, **settings_of(device))
    acquisition = Acquisition(config.buses, compile_plan(config))
    writer = Writer(config, acquisition, Audit(tmp_path), time.time)
    acquisition.start()
    try:
        until = time.monotonic() + DEADLINE_S
        while acquisition.stats()["bus"].counts.ok < 10 and time.monotonic() < until:
            acquisition.drain(Samples())
            select.select([acquisition.fileno()], [], [], 0.05)
        wanted = {"word": 7, "real": -0.5, "bits": 5, "coil": 1, "coils": 1}
        tickets = {tag: writer.write(f"bus/device/{tag}", value, "anna", boot_ns()) for tag, value in wanted.items()}
        while not all(ticket.done for ticket in tickets.values()) and time.monotonic() < until:
            select.select([acquisition.tickets.fileno()], [], [], 0.05)
            acquisition.tickets.turn(boot_ns())
    finally:
        acquisition.stop()
    outcomes = {tag: ticket.result for tag, ticket in tickets.items()}
    assert {tag: (outcome.result, outcome.new) for tag, outcome in outcomes.items()} == {
        tag: ("written", value) for tag, value in wanted.items()
    }
    assert outcomes["word"].old == HOLDING[30]
    counts = acquisition.stats()["bus"].counts
    assert (counts.timeouts, counts.exceptions) == (0, 0)


@pytest.fixture
def ask(device, make_config):
    """Makes one request; the PDU that answers it."""
    [bus] = make_config(str(device), **settings_of(device)).buses
    with Line(bus) as line:
        yield lambda request: line.ask(pdu.Ask(UNIT, request))


def test_pymodbus_understands_every_request_there_is_a_builder_for(ask):
    coils = pdu.coils(ask(pdu.read(Table.COIL, 3, 10)), 10)
    assert coils == COILS[3:13]
    assert ask(pdu.write_coils(3, [not coil for coil in coils]))[0] == pdu.WRITE_COILS
    assert pdu.coils(ask(pdu.read(Table.COIL, 3, 10)), 10) == [not coil for coil in coils]
    assert ask(pdu.write_registers(7, bytes.fromhex("00120034")))[0] == pdu.WRITE_REGISTERS
    assert ask(pdu.mask_write(7, b"\x00\xf2", b"\x00\x25"))[0] == pdu.MASK_WRITE
    assert pdu.data(ask(pdu.read_write(7, 2, 8, b"\xab\xcd"))) == bytes.fromhex("0017abcd")


def test_pymodbus_answers_diagnostics_and_identification(ask):
    assert 0 <= pdu.status(ask(pdu.exception_status())) <= 255
    assert ask(pdu.diagnostic(pdu.Diagnostic.LOOP_BACK, 0xA537))[-2:] == b"\xa5\x37"
    counted = pdu.events(ask(pdu.event_counter()))
    assert (counted.is_busy, counted.completed >= 0) == (False, True)
    assert pdu.data(ask(pdu.server_id()))
    assert pdu.identification(ask(pdu.device_identification())).objects == {0: b"maker", 1: b"M1", 2: b"2"}
    assert pdu.logged(ask(pdu.event_log())).messages is not None
    for which in COUNTERS:
        assert pdu.counter(ask(pdu.diagnostic(which))) >= 0, which


def test_pymodbus_answers_files_and_queues(ask):
    """Always with the same ten registers, and four."""
    assert pdu.records(ask(pdu.read_file((4, 7, 10)))) == [b"SERVER DUMMY RECORD."]
    request = pdu.write_file(4, 7, b"\x12\x34\x56\x78")
    assert ask(request) == request
    assert pdu.queue(ask(pdu.read_fifo(9))) == bytes.fromhex("0000000100020003")


def test_records_of_another_number_than_asked_for_are_no_answer(device, make_config):
    [bus] = make_config(str(device), **settings_of(device) | {"timeout_ns": S // 5}).buses
    with Line(bus) as line, pytest.raises(BusError, match="did not answer"):
        driven(line, held(UNIT, TAGS[0], 4))


def test_fieldtap_identify_puts_together_what_pymodbus_says(device, capsys):
    assert main(["identify", str(device), *words_of(device), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [said["identification"][number] for number in "012"] == ["maker", "M1", "2"]
    assert bytes.fromhex(said["server_id"]).startswith(b"maker-M1-2")
    assert said["loops_back"]
    assert said["maps"] == []
