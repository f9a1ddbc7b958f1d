"""fieldtap check: all mistakes, or the plan; talk on stderr, one document on stdout."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import files

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def replace(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def test_a_good_configuration_prints_its_bus_plan(fieldtap: Callable, example: str) -> None:
    said = fieldtap("check", example)
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "bus rs485: modbus-rtu /dev/ttyUSB0 19200 8E1\n"
        "  device  unit  reads            registers  used  tags  every  on the wire  takes about    share\n"
        "  meter1     1  input:0-7                8     4     2    1 s      16.6 ms      24.6 ms   2.46 %\n"
        "  pump       7  holding:100-101          2     2     1  0.1 s       9.7 ms      17.7 ms  17.74 %\n"
        "  3 tags in 2 requests per cycle of 42 ms, 11 requests/s, 20.2 % utilisation, 12 samples/s\n"
        "mqtt: plant7-line3 to mqtt://broker.example.com, a batch every 1 s as columns\n"
        "store: /var/lib/fieldtap, written when the broker has not acknowledged within 2 s\n"
    )


def test_one_tag_in_one_request_is_no_plural(fieldtap: Callable, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        'schema = 1\n[[bus]]\nname = "b"\nport = "/dev/x"\n[[bus.device]]\nname = "d"\nunit = 1\n'
        '[[bus.device.tag]]\nname = "t"\nregister = "holding:0"\ntype = "u16"\n'
    )
    assert "  1 tag in 1 request per cycle of" in fieldtap("check", str(path)).out


def test_as_json_the_plan_is_one_document(fieldtap: Callable, example: str) -> None:
    said = fieldtap("check", example, "--json")
    document = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert (document["valid"], document["mistakes"], document["warnings"]) == (True, [], [])
    assert document["gateway"] == "plant7-line3"
    (bus,) = document["buses"]
    assert (bus["name"], bus["requests_per_cycle"], bus["requests_per_s"], bus["samples_per_s"]) == ("rs485", 2, 11, 12)
    assert bus["utilisation"] == pytest.approx(0.2021, rel=1e-3)
    assert bus["fits"]
    assert bus["requests"][1] == {
        "device": "pump", "unit": 7, "table": "holding", "address": 100, "quantity": 2, "used": 2, "tags": ["pressure"],
        "every_s": 0.1, "achievable_every_s": 0.1, "share": pytest.approx(0.17745, rel=1e-3),
        "wire_ms": pytest.approx(17 * 11 / 19.2, rel=1e-3), "takes_ms": pytest.approx(17.745, rel=1e-3),
    }  # fmt: skip


def test_sixty_scattered_tags_are_shown_as_the_few_requests_that_read_them(fieldtap: Callable) -> None:
    said = fieldtap("check", str(EXAMPLES / "sparse.toml"))
    assert (said.code, said.err) == (0, "")
    assert said.out == (EXAMPLES / "sparse.plan").read_text()
    document = json.loads(fieldtap("check", str(EXAMPLES / "sparse.toml"), "--json").out)
    (bus,) = document["buses"]
    assert sum(len(request["tags"]) for request in bus["requests"]) == 60
    assert bus["requests_per_cycle"] == 16


def test_periods_that_cannot_be_kept_stand_beside_those_that_can(fieldtap: Callable, example: str) -> None:
    replace(example, "100ms", "10ms")
    said = fieldtap("check", example)
    assert said.code == 0
    assert "0.01 s -> 0.0212 s" in said.out
    (bus,) = json.loads(fieldtap("check", example, "--json").out)["buses"]
    assert not bus["fits"]
    assert sum(r["takes_ms"] / 1000 / r["achievable_every_s"] for r in bus["requests"]) == pytest.approx(0.85)


def test_a_tcp_bus_is_named_without_line_settings(fieldtap: Callable, example: str) -> None:
    replace(example, "/dev/ttyUSB0", "tcp://192.0.2.1")
    assert fieldtap("check", example).out.startswith("bus rs485: modbus-tcp tcp://192.0.2.1\n")


def test_all_mistakes_go_to_stderr_and_no_plan_is_printed(fieldtap: Callable, example: str) -> None:
    replace(example, "unit = 7", "unitt = 7")
    replace(example, "100ms", "soon")
    said = fieldtap("check", example)
    assert (said.code, said.out) == (78, "")
    assert said.err.splitlines() == [
        f"{example}:20:1: [[bus.device]] has no 'unit', which it needs",
        f"{example}:22:1: unknown key 'unitt' in [[bus.device]]; did you mean 'unit'?",
        f'{example}:23:9: every is "soon"; allowed: a time from "1 ms" to "24 h", in us, ms, s, min or h',
        "3 mistakes",
    ]


def test_as_json_mistakes_are_in_the_document(fieldtap: Callable, example: str) -> None:
    replace(example, "unit = 7", "unit = 777")
    said = fieldtap("check", example, "--json")
    document = json.loads(said.out)
    assert (said.code, said.err) == (78, "")
    assert (document["valid"], document["buses"], document["gateway"]) == (False, [], None)
    assert document["mistakes"] == [
        {"file": example, "line": 22, "column": 8, "message": "unit is 777; allowed: a whole number from 0 to 255"}
    ]


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_missing_file_is_a_configuration_mistake(fieldtap: Callable, tmp_path: Path, words: tuple[str, ...]) -> None:
    said = fieldtap("check", f"{tmp_path}/none.toml", *words)
    assert said.code == 78
    assert "No such file or directory" in (said.out if words else said.err)


def test_a_file_one_may_not_read_is_a_matter_of_permission(
    fieldtap: Callable, example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, most: int) -> bytes:  # root may read everything, so the system's answer is played
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_bytes", refuse)
    said = fieldtap("check", example)
    assert (said.code, said.out) == (77, "")
    assert said.err == f"fieldtap: {example}: Permission denied; run as a user who may read it, or change its mode\n"


WARNINGS = {
    "inline password": ("batch_s = 1", 'password = "x"', "gateway.toml:8:12: the password is readable for all"),
    "utilisation": ("100ms", "20ms", "bus 'rs485': its reads take 91 % of the time"),
    "overload": (
        "100ms",
        "10ms",
        "bus 'rs485': its reads take 180 % of the time, so each comes about 1.8 times as late as asked",
    ),
    "period": ("100ms", "10ms", "bus 'rs485': every 10 ms of device 'pump' cannot be kept"),
}


@pytest.mark.parametrize(("old", "new", "words"), WARNINGS.values(), ids=WARNINGS.keys())
def test_what_deserves_a_word_is_a_warning_and_no_mistake(
    fieldtap: Callable, example: str, old: str, new: str, words: str
) -> None:
    replace(example, old, new)
    said = fieldtap("check", example)
    assert said.code == 0
    assert any(line.startswith("warning: ") and words in line for line in said.err.splitlines())
    assert any(
        words in f"{w.get('file')}:{w.get('line')}:{w.get('column')}: {w['message']}"
        for w in warnings(fieldtap, example)
    )


def warnings(fieldtap: Callable, path: str) -> list[dict[str, object]]:
    return json.loads(fieldtap("check", path, "--json").out)["warnings"]


@pytest.mark.parametrize(
    ("old", "new", "words", "writes"),
    [
        ("batch_s = 1", "batch_s = 10", "written every 2 s, because batch_s is longer than that (loss_window_s)", True),
        ("batch_s = 1", "batch_s = 2", "written when the broker has not acknowledged within 2 s", False),
        ('[mqtt]\nurl = "mqtt://broker.example.com"\nbatch_s = 1\n', "", "written every 2 s", True),
    ],
)
def test_it_says_when_the_store_is_written(
    fieldtap: Callable, example: str, old: str, new: str, words: str, writes: bool
) -> None:
    replace(example, old, new)
    said = fieldtap("check", example)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == f"store: /var/lib/fieldtap, {words}"
    assert json.loads(fieldtap("check", example, "--json").out)["store_writes_when_healthy"] is writes


def test_nothing_a_check_needs_not_is_imported(modules_of: Callable, example: str) -> None:
    assert modules_of("check", example) & {"asyncio", "msgpack", "numpy", "paho", "pymodbus", "serial"} == set()
