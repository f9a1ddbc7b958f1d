"""What is remembered of devices, by what they are and what is asked of them; a damaged file is never believed."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.acquire.limits import Learned, Seam
from agent.acquire.memory import MAX_BYTES, MAX_DEVICES, NAME, Memory
from agent.acquire.plan import DeviceKey
from agent.config.model import MAX_BITS, MAX_REGISTERS, Bus, Config, Device, Hole, Table, Tag
from agent.model import NS_PER_S, ValueType

KEY = DeviceKey("b", "d")
LEARNED = Learned(
    max_registers=50,
    holes=frozenset({Hole(Table.HOLDING, 3, 4), Hole(Table.INPUT, 0, 0)}),
    seams=frozenset({Seam(Table.COIL, 65535)}),
    missing=frozenset({Hole(Table.HOLDING, 9, 9)}),
    strict=True,
)
TAG = Tag(name="t", table=Table.HOLDING, address=5, type=ValueType.U16, every_ns=NS_PER_S)


def buses_of(device: Device, name: str = "b") -> tuple[Bus, ...]:
    return (Bus(name=name, port="/dev/x", timeout_ns=1, devices=(device,)),)


def meter(**settings: object) -> Device:
    return Device(**{"name": "d", "unit": 1, "tags": (TAG,), **settings})


def after_restart(directory: Path, device: Device, name: str = "b") -> Learned | None:
    return Memory(str(directory)).recall(buses_of(device, name)).get(DeviceKey(name, device.name))


def remember(directory: Path, device: Device, learned: Learned = LEARNED) -> None:
    Memory(str(directory)).remember(buses_of(device), {KEY: learned})


def test_what_was_learned_is_known_after_a_restart(tmp_path: Path) -> None:
    remember(tmp_path / "not/there/yet", meter())
    assert after_restart(tmp_path / "not/there/yet", meter()) == LEARNED


spans = st.builds(Hole, st.sampled_from(Table), st.integers(0, 65535), st.integers(0, 65535))
anything = st.builds(
    Learned,
    st.integers(1, MAX_REGISTERS),
    st.integers(1, MAX_BITS),
    st.frozensets(spans, max_size=4),
    st.frozensets(st.builds(Seam, st.sampled_from(Table), st.integers(1, 65535)), max_size=4),
    st.frozensets(spans, max_size=4),
    st.booleans(),
)


@given(learned=anything)
def test_whatever_was_learned_comes_back_as_it_was(learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("store")
    remember(directory, meter(), learned)
    assert after_restart(directory, meter()) == (None if learned == Learned() else learned)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "eastron-sdm630"},
        {"firmware": "1.3"},
        {"max_registers": 60},
        {"max_gap": 3},
        {"holes": (Hole(Table.HOLDING, 1, 1),)},
        {"tags": (TAG, TAG)},
        {"tags": (replace(TAG, merge=False),)},
        {"tags": ()},
    ],
    ids=lambda other: next(iter(other)),
)
def test_of_another_device_firmware_or_configuration_nothing_is_believed(
    tmp_path: Path, other: dict[str, object]
) -> None:
    remember(tmp_path, meter())
    assert after_restart(tmp_path, meter(**other)) is None


def test_a_period_or_a_unit_changes_nothing_about_a_device(tmp_path: Path) -> None:
    remember(tmp_path, meter(model="m"))
    faster = Tag(name="u", table=Table.HOLDING, address=5, type=ValueType.U16, every_ns=1, scale=2.0, unit="V")
    assert after_restart(tmp_path, meter(model="m", unit=9, gap_ns=7, name="other", tags=(faster,)), "c") == LEARNED


def test_devices_without_a_map_are_told_apart_by_their_names(tmp_path: Path) -> None:
    remember(tmp_path, meter())
    assert after_restart(tmp_path, meter(name="e")) is None
    assert after_restart(tmp_path, meter(), "c") is None


OTHER = Learned(60, 8, frozenset({Hole(Table.INPUT, 7, 8)}), frozenset(), frozenset({Hole(Table.HOLDING, 8, 8)}), False)


@pytest.mark.parametrize("first", [Learned(), LEARNED, OTHER])
@pytest.mark.parametrize("second", [Learned(), LEARNED, OTHER])
def test_what_one_device_of_a_kind_has_taught_is_known_of_all(tmp_path: Path, first: Learned, second: Learned) -> None:
    devices = (meter(model="m", name="first"), meter(model="m", name="second", unit=2))
    buses = (replace(buses_of(devices[0])[0], devices=devices),)
    known = {DeviceKey("b", "first"): first, DeviceKey("b", "second"): second}
    Memory(str(tmp_path)).remember(buses, known)
    both = Learned(
        max_registers=min(first.max_registers, second.max_registers),
        max_bits=min(first.max_bits, second.max_bits),
        holes=first.holes | second.holes,
        seams=first.seams | second.seams,
        missing=first.missing | second.missing,
        strict=first.strict or second.strict,
    )
    recalled = Memory(str(tmp_path)).recall(buses)
    assert recalled == ({} if both == Learned() else dict.fromkeys(known, both))


def test_what_is_no_longer_so_is_forgotten_and_the_others_stay(tmp_path: Path) -> None:
    remember(tmp_path, meter(model="m"))
    remember(tmp_path, meter())
    remember(tmp_path, meter(), Learned())
    assert after_restart(tmp_path, meter()) is None
    assert after_restart(tmp_path, meter(model="m")) == LEARNED


DAMAGE = {
    "empty": b"",
    "torn": b'{"version": 1, "devices": [{"model": "b/d"',
    "binary": bytes(range(256)),
    "another version": b'{"version": 2, "devices": []}',
    "a number that cannot be": b'{"version":1,"devices":[{"model":"b/d","firmware":"","asked":"","max_registers":0}]}',
    "too large": b" " * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_file_that_cannot_be_used_is_reported_once_and_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / NAME).write_bytes(content)
    caplog.set_level(logging.WARNING)
    memory = Memory(str(tmp_path))
    assert memory.recall(buses_of(meter())) == {}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{tmp_path / NAME}: cannot be used, devices are learned anew: ")
    memory.remember(buses_of(meter()), {KEY: LEARNED})
    assert after_restart(tmp_path, meter()) == LEARNED


def test_a_file_cut_anywhere_is_known_whole_or_not_at_all(tmp_path: Path) -> None:
    remember(tmp_path, meter())
    whole = (tmp_path / NAME).read_bytes()
    for end in range(len(whole)):
        (tmp_path / NAME).write_bytes(whole[:end])
        assert after_restart(tmp_path, meter()) in (None, LEARNED)


def test_a_write_that_is_cut_off_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tmp_path, meter())
    before = (tmp_path / NAME).read_bytes()

    def power_cut(*_: object) -> None:
        raise OSError(5, "power cut")

    monkeypatch.setattr(Path, "replace", power_cut)
    remember(tmp_path, meter(), Learned(max_registers=1))
    assert (tmp_path / NAME).read_bytes() == before


def test_a_disk_that_takes_nothing_is_reported_and_does_not_stop_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    caplog.set_level(logging.WARNING)
    Memory(str(tmp_path / "other")).remember(buses_of(meter()), {})
    assert not (tmp_path / "other").exists(), "nothing learned, nothing written"
    memory = Memory(str(tmp_path / "other"))
    (tmp_path / "other").write_text("")
    memory.remember(buses_of(meter()), {KEY: LEARNED})
    assert "what was learned of the devices is lost at the next start" in caplog.text


def test_the_file_is_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    for at in range(MAX_DEVICES + 2):
        memory._keep((f"m{at}", "", ""), LEARNED)
    remember_all = buses_of(meter(model="new"))
    memory.remember(remember_all, {KEY: LEARNED})
    models = [entry["model"] for entry in json.loads((tmp_path / NAME).read_text())["devices"]]
    assert len(models) == MAX_DEVICES
    assert (models[0], models[-1]) == ("m3", "new")
    assert (tmp_path / NAME).stat().st_size < MAX_BYTES


def test_nothing_is_written_while_nothing_new_is_known(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    remember(tmp_path, meter())
    (tmp_path / NAME).chmod(0o400)
    before = (tmp_path / NAME).stat()
    remember(tmp_path, meter())
    after = (tmp_path / NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
