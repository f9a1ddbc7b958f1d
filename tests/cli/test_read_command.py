"""`fieldtap read`: what it prints and how it ends, against the simulator on a pty and over TCP."""

import json
import os
import socket
import struct
import threading
import time
from functools import partial

import pytest

from agent._native.codec import encode_value
from agent.acquire.once import Line
from agent.acquire.pdu import Ask
from agent.cli import main
from agent.config.model import Bus, Device, Table, Tag
from agent.model import Order, ValueType
from agent.simulate.signal import is_right, record_at

S = 1_000_000_000
TYPES = [  # with registers (text: bytes) and order
    (ValueType.I16, 1, Order.ABCD),
    (ValueType.F32, 2, Order.CDAB),
    (ValueType.I32, 2, Order.BADC),
    (ValueType.U64, 4, Order.DCBA),
    (ValueType.F64, 4, Order.ABCD),
    (ValueType.BCD16, 1, Order.ABCD),
    (ValueType.BCD32, 2, Order.CDAB),
    (ValueType.TEXT, 9, Order.ABCD),
]
TAGS = tuple(
    Tag(name=kind.name, table=Table.INPUT, address=10 * at, type=kind, length=length, order=order, every_ns=S)
    for at, (kind, length, order) in enumerate(TYPES)
)
WORDS = {ValueType.TEXT: "string:9"}
FORMATS = {ValueType.F32: "=f", ValueType.F64: "=d"}


@pytest.fixture
def target(played):
    """Start a simulator of one bus; returns what `read` is pointed at."""
    return lambda port="/dev/ttyS99", faults=(): played([Device(name="d", unit=7, tags=TAGS)], port, faults)


@pytest.fixture
def read(command):
    return partial(command, "read")


def raw_of(value, kind):
    if isinstance(value, str):
        return value.encode()
    if kind in FORMATS:
        return int.from_bytes(struct.pack(FORMATS[kind], value), "little")
    return value % (1 << 64)


@pytest.mark.parametrize("port", ["/dev/ttyS99", "tcp://127.0.0.1:0", "rtu+tcp://127.0.0.1:0"])
@pytest.mark.parametrize("tag", TAGS, ids=[tag.name for tag in TAGS])
def test_a_value_of_every_type_is_read(tag, port, target, read):
    kind = WORDS.get(tag.type, tag.type.name.lower())
    code, out, _ = read(target(port), f"input:{tag.address}", "--type", kind, "--order", tag.order.name, "--json")
    [value] = json.loads(out)["values"]
    assert (code, value["register"], value["q"]) == (0, f"input:{tag.address}", "good")
    assert is_right(tag, 7, raw_of(value["v"], tag.type), time.time_ns(), 5 * S)


@pytest.mark.parametrize(
    ("words", "registers"),
    [
        (["holding:100"], ["holding:100"]),
        (["holding:0x64:3"], ["holding:100", "holding:101", "holding:102"]),
        (["holding:101", "--base", "1"], ["holding:100"]),
        (["40101"], ["holding:100"]),
        (["30001:2", "--base", "1"], ["input:0", "input:1"]),
        (["400101:2", "--type", "u32"], ["holding:100", "holding:102"]),
        (["coil:5:2"], ["coil:5", "coil:6"]),
        (["discrete:65535"], ["discrete:65535"]),
    ],
)
def test_registers_are_named_as_table_and_address_from_0(words, registers, target, read):
    code, out, err = read(target(), *words)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == registers


def test_more_registers_than_one_request_carries_are_read_in_several(target, read):
    code, out, _ = read(target(), "holding:0:1000")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [f"holding:{at}" for at in range(1000)]


@pytest.mark.parametrize("port", ["/dev/ttyS99", "tcp://127.0.0.1:0"])
def test_records_of_a_file_are_read_in_as_many_requests_as_it_takes(port, target, read):
    code, out, err = read(target(port), "file:4:7:300", "--json")
    values = [(value["register"], value["v"]) for value in json.loads(out)["values"]]
    assert (code, err) == (0, "")
    assert values == [(f"file:4:{at}", record_at(7, 4, at)) for at in range(7, 307)]


def test_records_have_types_and_orders_too(target, read):
    code, out, _ = read(target(), "file:0x4:0x7:2", "--type", "u32", "--order", "CDAB")
    first, second = (record_at(7, 4, at + 1) << 16 | record_at(7, 4, at) for at in (7, 9))
    assert (code, out) == (0, f"file:4:7 {first}\nfile:4:9 {second}\n")


@pytest.mark.parametrize("port", ["/dev/ttyS99", "tcp://127.0.0.1:0"])
def test_a_queue_is_read_as_long_as_it_is(port, target, read, capsys):
    path = target(port)
    for at, value in enumerate((3, 500, 501, 502)):
        assert main(["write", path, "--unit", "7", f"holding:{1000 + at}", str(value), "--yes"]) == 0
    capsys.readouterr()
    assert read(path, "fifo:1000") == (0, "fifo:1000 500\nfifo:1000 501\nfifo:1000 502\n", "")
    assert json.loads(read(path, "fifo:0x3E8", "--json")[1])["values"][1] == {
        "register": "fifo:1000", "v": 501, "q": "good",
    }  # fmt: skip
    assert read(path, "fifo:1000", "--type", "u32")[0] == 2


def test_an_empty_queue_has_no_values_and_says_so(target, read):
    assert read(target(), "fifo:32") == (0, "", "fifo:32 is empty\n")


def test_what_a_device_refuses_of_files_and_queues_is_told_in_words(target, read):
    path = target()
    assert "exception 2: it has no such register" in read(path, "file:11:0")[2]
    main(["write", path, "--unit", "7", "holding:1000", "32", "--yes"])
    assert "exception 3: it does not accept this quantity or value" in read(path, "fifo:1000")[2]


@pytest.mark.parametrize("word", ["3.25", "0.1", "-0.1", "16777216.0", "1e-07", "3.4028235e+38", "nan", "inf"])
def test_a_short_float_has_no_more_digits_than_it_needs(word, target, read):
    path = target()
    registers = encode_value(ValueType.F32, Order.ABCD, int.from_bytes(struct.pack("=f", float(word)), "little"))
    write_registers(path, pdu_of(registers.hex()))
    assert read(path, "holding:100", "--type", "f32")[:2] == (0, f"holding:100 {word}\n")


def strictly(text):
    """JSON as the standard has it: Python's own reader takes NaN and Infinity, too."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("registers", "kind", "value"),
    [
        ("7fc00000", "f32", {"v": None, "bits": "7fc00000"}),
        ("ff800000", "f32", {"v": None, "bits": "ff800000"}),
        ("3dcccccd", "f32", {"v": 0.1}),
        ("7ff0000000000000", "f64", {"v": None, "bits": "7ff0000000000000"}),
        ("fff8000000000001", "f64", {"v": None, "bits": "fff8000000000001"}),
        ("70ff", "string:2", {"v": "pÿ", "bits": "70ff"}),
        ("7031", "string:2", {"v": "p1"}),
    ],
)
def test_json_is_strict_and_keeps_the_bits_of_what_it_cannot_say(registers, kind, value, target, read):
    path = target()
    write_registers(path, pdu_of(registers))
    code, out, _ = read(path, "holding:100", "--type", kind, "--json")
    [told] = strictly(out)["values"]
    assert (code, told) == (0, {"register": "holding:100", **value, "q": "good"})


def test_text_of_a_device_cannot_steer_the_terminal(target, read):
    path = target()
    write_registers(path, pdu_of("701b5b32"))
    assert read(path, "holding:100", "--type", "string:4")[:2] == (0, "holding:100 p\\x1b[2\n")


def pdu_of(registers):
    """Write these registers from address 100 on."""
    content = bytes.fromhex(registers)
    return bytes.fromhex("100064") + struct.pack(">HB", len(content) // 2, len(content)) + content


def write_registers(path, pdu):
    device = Device(name="d", unit=7, tags=())
    with Line(Bus(name="b", port=path, parity="N", timeout_ns=2 * S, devices=(device,))) as line:
        assert line.ask(Ask(7, pdu)) == pdu[:5]


def test_a_register_that_is_no_bcd_number_is_a_failure(target, read):
    path = target()
    write_registers(path, pdu_of("00fa"))
    assert read(path, "holding:100", "--type", "bcd16") == (1, "holding:100 out-of-range\n", "")


@pytest.mark.parametrize(
    ("code", "told"), [(2, "it has no such register"), (6, "it is busy"), (99, "a code of its own")]
)
@pytest.mark.parametrize("port", ["/dev/ttyS99", "tcp://127.0.0.1:0"])
def test_an_exception_is_told_in_words(port, code, told, target, read):
    path = target(port, faults=[f"exception:1:{code}"])
    assert read(path, "holding:1") == (1, "", f"fieldtap: unit 7 at {path} answered exception {code}: {told}\n")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("drop:1", "nothing was heard at all"),
        ("truncate:1", "bytes were heard"),
        ("crc:1", "bytes were heard"),
        ("wrong-unit:1", "7 bytes were heard: another's answer"),
    ],
)
def test_no_answer_is_told_with_what_was_heard_instead(fault, told, target, read):
    path = target(faults=[fault])
    code, out, err = read(path, "holding:1", "--timeout", "60")
    assert (code, out) == (69, "")
    assert err.startswith(f"fieldtap: unit 7 at {path} did not answer within 60 ms; ")
    assert told in err


@pytest.mark.parametrize("fault", ["glitch:1", "echo", "late:1:50"])
def test_line_troubles_that_leave_the_answer_whole_do_no_harm(fault, target, read):
    assert read(target(faults=[fault]), "holding:1")[0] == 0


def test_a_port_that_is_not_there_is_unavailable(read, tmp_path):
    code, _, err = read(str(tmp_path / "ttyUSB9"), "holding:1")
    assert (code, err) == (69, f"fieldtap: {tmp_path}/ttyUSB9: No such file or directory\n")


def test_a_host_that_refuses_is_unavailable(read):
    code, _, err = read("tcp://127.0.0.1:1", "holding:1")
    assert code == 69
    assert "cannot connect" in err


def hang_up(listener):
    connection, _ = listener.accept()
    with connection:
        connection.recv(1)


def test_a_host_that_hangs_up_is_unavailable(read):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up, args=[listener], daemon=True).start()
        code, _, err = read(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "holding:1")
    assert code == 69
    assert "hung up" in err or "reset" in err


def test_a_port_without_permission_says_what_to_do(read, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    code, _, err = read(str(tmp_path), "holding:1")
    assert code == 77
    assert "usermod" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["holdng:1"], "did you mean 'holding'?"),
        (["holding"], "holding: allowed: TABLE:ADDRESS"),
        (["holding:1:none"], "the number of values, 1 to 10000"),
        (["holding:1:0"], "the number of values, 1 to 10000"),
        (["holding:1:2:3"], "the number of values, 1 to 10000"),
        (["holding:65535", "--type", "f32"], "registers are 0 to 65535"),
        (["holding:0", "--base", "1"], "registers are 1 to 65536"),
        (["coil:1", "--type", "u16"], "a coil holds one bit"),
        (["holding:1", "--type", "bool"], "one bit of a register is bits:1@K"),
        (["holding:1", "--type", "f33"], "did you mean 'f32'?"),
        (["holding:1", "--timeout", "0"], "milliseconds from 1 to 60000"),
        (["file:4"], "a record is file:FILE:RECORD, files 1 to 65535, records 0 to 9999"),
        (["file:0:0"], "files 1 to 65535"),
        (["file:65536:0"], "files 1 to 65535"),
        (["file:1:10000"], "records 0 to 9999"),
        (["file:1:9999:2"], "records are 0 to 9999"),
        (["file:1:0:x"], "after the register comes the number of values"),
        (["file:1:0", "--type", "bool"], "one bit of a register is bits:1@K"),
        (["fifo:"], "a queue is fifo:ADDRESS, 0 to 65535"),
        (["fifo:65536"], "a queue is fifo:ADDRESS, 0 to 65535"),
        (["fifo:1:2"], "it has as many values as it has"),
    ],
)
def test_words_that_mean_nothing_are_usage_errors(words, told, read):
    code, _, err = read("/dev/null", *words)
    assert code == 2
    assert told in err


@pytest.mark.parametrize(("target_", "unit"), [("/dev/null", 0), ("/dev/null", 256), ("tcp://127.0.0.1", -1)])
def test_a_unit_that_cannot_be_is_a_usage_error(target_, unit, read):
    assert read(target_, "holding:1", unit=unit)[0] == 2
