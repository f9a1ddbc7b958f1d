"""What the keys become: typed values in the agent's units, with the defaults of the contract."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import check_config, files, load_config
from agent.config.model import Config, Device, Secret, Store, Table, Write
from agent.errors import ConfigError, ExitCode, NotPermittedError
from agent.model import DeadbandKind, Order, ValueType

Loaded = Callable[..., Config]
OneDevice = Callable[..., Device]


def tag_text(**keys: str) -> str:
    written = {"name": '"x"', "register": '"holding:100"', "type": '"u16"', **keys}
    return "[[bus.device.tag]]\n" + "".join(f"{key} = {value}\n" for key, value in written.items())


def test_what_is_not_written_has_the_defaults_of_the_contract(loaded: Loaded, valid: str) -> None:
    config = loaded(valid)
    bus = config.buses[0]
    assert config.mqtt is None
    assert config.store == Store()
    assert (bus.protocol, bus.mode, bus.baud, bus.parity, bus.stop_bits, bus.rs485) == (
        "modbus-rtu", "master", 19200, "E", 1, "auto",
    )  # fmt: skip
    assert bus.timeout_ns == 300_000_000
    assert bus.devices[0].tags[0].every_ns == 1_000_000_000


def test_the_mark_that_windows_editors_put_before_utf8_is_no_mistake(loaded: Loaded, valid: str) -> None:
    assert loaded("\ufeff" + valid) == loaded(valid)


def test_mqtt_has_the_defaults_of_the_contract(loaded: Loaded, valid: str) -> None:
    mqtt = loaded(valid, a='[mqtt]\nurl = "mqtt://broker"\n').mqtt
    assert mqtt is not None
    assert (mqtt.endpoint, mqtt.format, mqtt.batch_s, mqtt.max_message_bytes) == ("generic", "columns", 10.0, 122_880)
    assert mqtt.topic == "fieldtap/{gateway}/{kind}"


def test_a_tcp_port_makes_the_bus_modbus_tcp(loaded: Loaded, valid: str) -> None:
    bus = loaded(valid.replace("/dev/ttyUSB0", "tcp://192.0.2.1:502")).buses[0]
    assert (bus.protocol, bus.timeout_ns) == ("modbus-tcp", 1_000_000_000)


@pytest.mark.parametrize(
    "port",
    ["/dev/serial/by-id/usb-x", "./rs485", "usb:0403:6001", "usb:0403:6001:FT1", "rtu+tcp://h:1", "tcp://[::1]:502"],
)
def test_every_form_of_port_is_taken_as_written(loaded: Loaded, valid: str, port: str) -> None:
    assert loaded(valid.replace("/dev/ttyUSB0", port)).buses[0].port == port


@pytest.mark.parametrize(
    ("keys", "table", "address"),
    [
        ({"register": '"holding:100"'}, Table.HOLDING, 100),
        ({"register": '"input:0x64"'}, Table.INPUT, 100),
        ({"register": '"input:0XfF"'}, Table.INPUT, 255),
        ({"register": '"holding:100"', "base": "1"}, Table.HOLDING, 99),
        ({"register": "40101", "base": "1"}, Table.HOLDING, 100),
        ({"register": '"40101"', "base": "1"}, Table.HOLDING, 100),
        ({"register": "30001", "base": "1"}, Table.INPUT, 0),
        ({"register": "465536", "base": "1"}, Table.HOLDING, 65535),
        ({"register": '"00002"', "base": "1", "type": '"bool"'}, Table.COIL, 1),
        ({"register": "10002", "base": "1", "type": '"bool"'}, Table.DISCRETE, 1),
        ({"register": '"holding:65535"'}, Table.HOLDING, 65535),
    ],
)
def test_registers_become_table_and_zero_based_address(
    device: OneDevice, keys: dict[str, str], table: Table, address: int
) -> None:
    tag = device(tag_text(**keys)).tags[0]
    assert (tag.table, tag.address) == (table, address)


def test_the_base_of_a_device_counts_for_its_tags_unless_they_have_their_own(device: OneDevice) -> None:
    tags = device(
        "base = 1\n" + tag_text(register="40001") + tag_text(name='"y"', base="0", register='"holding:7"')
    ).tags
    assert [tag.address for tag in tags] == [0, 7]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bool", (ValueType.BOOL, 1, 0, 0)),
        ("u16", (ValueType.U16, 1, 0, 0)),
        ("i32", (ValueType.I32, 2, 0, 0)),
        ("f64", (ValueType.F64, 4, 0, 0)),
        ("bcd32", (ValueType.BCD32, 2, 0, 0)),
        ("string:7", (ValueType.TEXT, 7, 0, 0)),
        ("string:250", (ValueType.TEXT, 250, 0, 0)),
        ("bits:4@12", (ValueType.BITS, 1, 4, 12)),
        ("bits:16@0", (ValueType.BITS, 1, 16, 0)),
    ],
)
def test_types_become_type_length_and_bits(device: OneDevice, text: str, expected: tuple[int, ...]) -> None:
    tag = device(tag_text(type=f'"{text}"')).tags[0]
    assert (tag.type, tag.length, tag.bits, tag.shift) == expected


def test_a_coil_is_a_bool_without_saying_so(device: OneDevice) -> None:
    assert device('[[bus.device.tag]]\nname = "x"\nregister = "coil:1"\n').tags[0].type is ValueType.BOOL


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1 ms", 10**6),
        ("100ms", 10**8),
        ("1s", 10**9),
        ("1.5 s", 15 * 10**8),
        ("2 min", 120 * 10**9),
        ("2 h", 7200 * 10**9),
        ("2000us", 2 * 10**6),
    ],
)
def test_times_become_nanoseconds(device: OneDevice, text: str, nanoseconds: int) -> None:
    assert device(tag_text(every=f'"{text}"')).tags[0].every_ns == nanoseconds


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("65536", 65536),
        ('"128 KiB"', 131072),
        ('"1 MiB"', 2**20),
        ('"1.5MiB"', 3 * 2**19),
        ('"1 GB"', 10**9),
        ('"500 kB"', 500_000),
    ],
)
def test_sizes_become_bytes(loaded: Loaded, valid: str, text: str, size_bytes: int) -> None:
    assert loaded(valid, a=f"[store]\njournal_bytes = {text}\n").store.journal_bytes == size_bytes


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("0", DeadbandKind.ABSOLUTE, 0.0),
        ("0.05", DeadbandKind.ABSOLUTE, 0.05),
        ("{ percent = 2 }", DeadbandKind.PERCENT, 2.0),
    ],
)
def test_dead_bands_are_absolute_or_percent(device: OneDevice, text: str, kind: DeadbandKind, value: float) -> None:
    tag = device(tag_text(deadband=text, heartbeat='"60s"')).tags[0]
    assert (tag.deadband, tag.deadband_value, tag.heartbeat_ns) == (kind, value, 60 * 10**9)


def test_the_other_keys_of_a_tag(device: OneDevice) -> None:
    tag = device(
        tag_text(type='"f32"', order='"DCBA"', scale="-0.1", offset="5", unit='"°C"', write="{ min = -1, max = 2.5 }")
    ).tags[0]
    assert (tag.order, tag.scale, tag.offset, tag.unit, tag.write) == (
        Order.DCBA,
        -0.1,
        5.0,
        "°C",
        Write(min=-1.0, max=2.5),
    )


def test_what_may_be_written_has_steps_a_rate_and_a_function(device: OneDevice) -> None:
    limits = '{ min = 0, max = 9, step = 0.5, rate = "10 s", function = 16 }'
    tag = device(tag_text(write=limits)).tags[0]
    assert tag.write == Write(min=0, max=9, step=0.5, rate_ns=10 * 10**9, function=16)


@pytest.mark.parametrize("type_", ["u16", "f32", "u64"])
def test_function_23_is_for_registers_of_all_numbers(device: OneDevice, type_: str) -> None:
    tag = device(tag_text(type=f'"{type_}"', write="{ min = 0, max = 9, function = 23 }")).tags[0]
    assert tag.write == Write(min=0, max=9, function=23)


def test_a_coil_is_written_with_0_and_1_unless_told_otherwise(device: OneDevice) -> None:
    tag = device(tag_text(register='"coil:1"', type='"bool"', write="{}")).tags[0]
    assert tag.write == Write(min=0, max=1)


def test_a_device_map_gives_tags_and_limits(device: OneDevice) -> None:
    meter = device('device = "eastron-sdm630"\n')
    assert (meter.max_registers, meter.model) == (50, "eastron-sdm630")
    assert (meter.tags[0].name, meter.tags[0].address, meter.tags[0].unit) == ("voltage_l1", 0, "V")


def test_select_takes_some_tags_of_a_map_in_the_order_of_the_map(device: OneDevice) -> None:
    meter = device('device = "eastron-sdm630"\nselect = ["power", "voltage_l1"]\n')
    assert [tag.name for tag in meter.tags] == ["voltage_l1", "power"]


def test_what_the_configuration_says_of_a_map_tag_wins(device: OneDevice) -> None:
    text = (
        'device = "eastron-sdm630"\nselect = ["power"]\nmax_registers = 20\n'
        + '[[bus.device.tag]]\nname = "power"\nscale = 0.001\nunit = "kW"\n'
    )
    meter = device(text)
    tag = meter.tags[0]
    assert meter.max_registers == 20
    assert (tag.address, tag.type, tag.scale, tag.unit) == (0x34, ValueType.F32, 0.001, "kW")


def test_naming_an_unselected_map_tag_takes_it_too_and_own_tags_follow(device: OneDevice) -> None:
    text = 'device = "eastron-sdm630"\nselect = []\n' + tag_text() + '[[bus.device.tag]]\nname = "power"\n'
    assert [tag.name for tag in device(text).tags] == ["x", "power"]


def test_a_device_counting_from_1_does_not_shift_its_map(device: OneDevice) -> None:
    text = 'device = "eastron-sdm630"\nselect = ["power"]\nbase = 1\n'
    assert device(text).tags[0].address == 0x34
    assert device(text + '[[bus.device.tag]]\nname = "power"\nregister = 40001\n').tags[0].address == 0


def test_a_map_may_be_a_file_beside_the_one_that_names_it(device: OneDevice, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'schema = 1\ntitle = "mine"\n[[tag]]\nname = "a"\nregister = "input:3"\ntype = "i16"\n'
    )
    assert device('device = "mine.toml"\n').tags[0].address == 3


def test_fragments_extend_buses_devices_and_tags_by_name_and_append_the_others(loaded: Loaded, valid: str) -> None:
    more_tags = '[[bus]]\nname = "rs485"\nbaud = 9600\n[[bus.device]]\nname = "pump"\n'
    more_tags += '[[bus.device.tag]]\nname = "pressure"\nscale = 2\n'
    more_devices = '[[bus]]\nname = "rs485"\n[[bus.device]]\nname = "fan"\nunit = 8\n' + tag_text()
    more_buses = '[[bus]]\nname = "plc"\nport = "tcp://h"\n[[bus.device]]\nname = "plc"\nunit = 1\n' + tag_text()
    config = loaded(valid, b20=more_devices, a10=more_tags, c30=more_buses)
    assert [bus.name for bus in config.buses] == ["rs485", "plc"]
    assert [device.name for device in config.buses[0].devices] == ["pump", "fan"]
    assert config.buses[0].baud == 9600
    assert config.buses[0].devices[0].tags[0].scale == 2.0


def test_fragments_are_read_in_the_order_of_their_names_and_only_toml(
    loaded: Loaded, valid: str, tmp_path: Path
) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml.bak").write_text("not toml")
    buses = {
        name: f'[[bus]]\nname = "{name}"\nport = "tcp://h"\n[[bus.device]]\nname = "d"\nunit = 1\n' + tag_text()
        for name in ("b", "a10", "a9")
    }
    assert [bus.name for bus in loaded(valid, **buses).buses] == ["rs485", "a10", "a9", "b"]


@pytest.fixture
def serial_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "SERIAL_FILES", (f"{tmp_path}/serial-number", f"{tmp_path}/machine-id"))
    return tmp_path


def test_a_gateway_without_an_id_is_named_by_its_serial(loaded: Loaded, valid: str, serial_files: Path) -> None:
    (serial_files / "serial-number").write_text("10000000abcdef12\0")
    assert loaded(valid).gateway.id == "fieldtap-abcdef12"


def test_the_machine_id_is_not_shown_itself(loaded: Loaded, valid: str, serial_files: Path) -> None:
    (serial_files / "machine-id").write_text("0123456789abcdef\n")
    name = loaded(valid).gateway.id
    assert re.fullmatch("fieldtap-[0-9a-f]{8}", name)
    assert not name.endswith("89abcdef")


def test_a_board_without_any_number_has_a_name_all_the_same(loaded: Loaded, valid: str, serial_files: Path) -> None:
    assert loaded(valid).gateway.id == "fieldtap"


def test_passwords_do_not_show_in_logs(loaded: Loaded, valid: str) -> None:
    config = loaded(valid, a='[mqtt]\nurl = "mqtt://b"\nusername = "gw1"\npassword = "hush"\n')
    assert config.mqtt is not None
    assert config.mqtt.password == "hush"
    assert isinstance(config.mqtt.password, Secret)
    assert "hush" not in repr(config)


WARNED = {
    "heartbeat not longer than every": (
        '[[bus]]\nname = "b"\nport = "/dev/b"\n[[bus.device]]\nname = "d"\nunit = 1\n'
        + tag_text(heartbeat='"1s"', deadband="5"),
        "heartbeat is not longer than every",
    ),
    "password inline": (
        '[mqtt]\nurl = "mqtt://b"\npassword = "hush"\n',
        "the password is readable for all who read this file",
    ),
    "baud off": ('[[bus]]\nname = "rs485"\nbaud = 19000\n', "did you mean 19200?"),
    "12 bits": ('[[bus]]\nname = "rs485"\nstop_bits = 2\n', "12 bits a character"),
    "serial key on tcp": (
        '[[bus]]\nname = "b"\nport = "tcp://h"\nbaud = 9600\n[[bus.device]]\nname = "d"\nunit = 1\n' + tag_text(),
        "no effect",
    ),
    "requests in flight on a line": (
        '[[bus]]\nname = "b"\nport = "/dev/x"\nin_flight = 4\n[[bus.device]]\nname = "d"\nunit = 1\n' + tag_text(),
        "tcp:// and tls:// ports alone",
    ),
    "requests in flight in datagrams": (
        '[[bus]]\nname = "b"\nport = "udp://h"\nin_flight = 4\n[[bus.device]]\nname = "d"\nunit = 1\n' + tag_text(),
        "tcp:// and tls:// ports alone",
    ),
    "marks on ASCII": (
        '[[bus]]\nname = "b"\nport = "/dev/x"\nprotocol = "modbus-ascii"\nmark_errors = "on"\n'
        '[[bus.device]]\nname = "d"\nunit = 1\n' + tag_text(),
        "never taken for a digit",
    ),
    "bits of ASCII": (
        '[[bus]]\nname = "b"\nport = "/dev/x"\nprotocol = "modbus-ascii"\nstop_bits = 2\n'
        '[[bus.device]]\nname = "d"\nunit = 1\n' + tag_text(),
        "11 bits a character; Modbus has 10",
    ),
    "TLS without a certificate": (
        '[[bus]]\nname = "b"\nport = "tls://h"\n[[bus.device]]\nname = "d"\nunit = 1\n' + tag_text(),
        "will refuse to talk",
    ),
    "reserved unit": (
        '[[bus]]\nname = "rs485"\n[[bus.device]]\nname = "d"\nunit = 248\n' + tag_text(),
        "reserves 248 to 255",
    ),
    "heartbeat alone": (
        '[[bus]]\nname = "rs485"\n[[bus.device]]\nname = "pump"\n' + tag_text(heartbeat='"1s"'),
        "every sample is sent anyway",
    ),
}


@pytest.mark.parametrize(("fragment", "words"), WARNED.values(), ids=WARNED.keys())
def test_what_works_but_not_as_one_may_think_is_a_warning(
    loaded: Loaded, valid: str, fragment: str, words: str
) -> None:
    warnings = loaded(valid, a=fragment).warnings
    assert len(warnings) == 1
    assert words in warnings[0]
    assert "conf.d/a.toml:" in warnings[0]


def test_a_map_that_moves_is_no_matter_once_it_is_said_where_it_is(loaded: Loaded, valid: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        'schema = 1\ntitle = "m"\nstart = 700\ntag = [{ name = "a", register = "holding:0", type = "u16" }]\n'
    )
    moving = f'{valid}[[bus.device]]\nname = "m"\nunit = 9\ndevice = "./m.toml"\n'
    (warning,) = loaded(moving).warnings
    assert "gateway.toml:15:10: " in warning
    assert "write start = 700 when `fieldtap read` has shown it" in warning
    assert not loaded(f"{moving}start = 700\n").warnings


def test_the_folder_of_the_store_is_relative_to_the_file_that_names_it(
    loaded: Loaded, valid: str, tmp_path: Path
) -> None:
    assert loaded(valid, a='[store]\npath = "data"\n').store.path == f"{tmp_path}/conf.d/data"
    assert loaded(valid, a='[store]\npath = "/data"\n').store.path == "/data"


EVERYTHING = (Path(__file__).parent / "good" / "everything.toml").read_text()
WRONG = ("07:32:00", "[[1]]", "{ nonsense = 1 }", "[]", '"\\u0007"')
NO_MISTAKE = ("select", "[]")  # none of the map's tags but those that the configuration names again
SETTINGS = [
    pytest.param(number, key, value, id=f"{number}: {key} = {value}")
    for number, (key, equals, _) in enumerate((line.partition(" = ") for line in EVERYTHING.splitlines()), 1)
    for value in WRONG
    if equals and (key, value) != NO_MISTAKE
]


@pytest.mark.parametrize(("number", "key", "wrong"), SETTINGS)
def test_every_key_refuses_what_it_cannot_be_where_it_stands(
    written: Callable, number: int, key: str, wrong: str
) -> None:
    lines = EVERYTHING.splitlines()
    lines[number - 1] = f"{key} = {wrong}"
    mistakes = check_config(written("\n".join(lines))).mistakes
    assert any(mistake.place.line == number for mistake in mistakes)
    assert all(str(mistake).isprintable() for mistake in mistakes)


def test_a_file_that_is_not_there_is_a_mistake_of_its_own(tmp_path: Path) -> None:
    assert list(map(str, check_config(f"{tmp_path}/x.toml").mistakes)) == [
        f"{tmp_path}/x.toml: No such file or directory"
    ]
    with pytest.raises(ConfigError):
        load_config(f"{tmp_path}/x.toml")


def test_a_file_of_the_wrong_kind_is_not_read_to_its_end() -> None:
    assert [mistake.message for mistake in check_config("/dev/zero").mistakes] == ["larger than 16777216 bytes"]


def test_line_ends_of_another_system_change_nothing(
    loaded: Loaded, mistakes: Callable[..., list[str]], valid: str
) -> None:
    text = valid + '[mqtt]\nurl = "mqtt://b"\nalpn = """\nx"""\n'
    expected = mistakes(text.replace("7", "777"))
    assert loaded(valid.replace("\n", "\r\n")) == loaded(valid)
    assert mistakes(text.replace("7", "777").replace("\n", "\r\n")) == expected != []


def test_a_journal_of_just_two_batches_will_do(loaded: Loaded, valid: str) -> None:
    text = '[mqtt]\nurl = "mqtt://b"\nmax_message_bytes = 65536\n[store]\njournal_bytes = "128 KiB"\n'
    assert loaded(valid, a=text).store.journal_bytes == 131_072


def test_a_map_is_read_once_however_many_devices_have_it(
    loaded: Loaded, valid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    real = files.read_map
    monkeypatch.setattr(files, "read_map", lambda path, report: read.append(path) or real(path, report))
    devices = "".join(
        f'[[bus.device]]\nname = "m{unit}"\nunit = {unit}\ndevice = "eastron-sdm120"\n' for unit in (1, 2, 3)
    )
    assert len(loaded(valid + devices).buses[0].devices) == 4
    assert len(read) == 1


@pytest.mark.parametrize("which", ["main", "conf.d"])
def test_a_file_one_may_not_read_is_a_matter_of_permission(
    written: Callable[..., str], valid: str, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    path = written(valid, a="")
    forbidden = path if which == "main" else "conf.d"

    def refuse(name: str, most: int) -> bytes:  # root may read everything, so the system's answer is played
        if forbidden in name:
            raise PermissionError(13, "Permission denied")
        return real(name, most)

    real = files._bytes
    monkeypatch.setattr(files, "_bytes", refuse)
    with pytest.raises(NotPermittedError, match="Permission denied; run as a user who may read it") as caught:
        load_config(path)
    assert caught.value.exit_code == ExitCode.PERMISSION
