"""The linter: nothing to say of a map that ships, and to the letter what it says of careless ones."""

import json
from pathlib import Path

import pytest

from agent.cli import main
from agent.config.files import shipped_maps
from agent.devices.lint import is_device_map, lint

HERE = Path(__file__).parent
BROKEN = sorted((HERE / "broken").glob("*.toml"))


@pytest.mark.parametrize("name", shipped_maps())
def test_a_map_that_ships_has_nothing_to_be_said_about_it(name: str) -> None:
    assert [str(remark) for remark in lint(shipped_maps()[name])] == []


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_what_is_wrong_is_said_with_its_place(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.chdir(path.parent)
    assert [str(remark) for remark in lint(path.name)] == path.with_suffix(".expected").read_text().splitlines()


def test_the_same_is_said_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = HERE / "broken" / "careless-map.toml"
    monkeypatch.chdir(tmp_path)
    assert [str(remark).removeprefix(f"{path.parent}/") for remark in lint(str(path))] == path.with_suffix(
        ".expected"
    ).read_text().splitlines()


def test_check_knows_a_map_from_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    careless, fine = str(HERE / "broken" / "careless-map.toml"), shipped_maps()["xy-md02"]
    assert main(["check", careless]) == 78
    assert capsys.readouterr().err.endswith("\n13 mistakes\n")
    assert main(["check", fine, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "mistakes": []}
    assert main(["check", fine]) == 0
    assert capsys.readouterr() == (
        "XY-MD01, XY-MD02 (SHT20), temperature and humidity sensors: 3 tags, nothing to remark\n",
        "",
    )


@pytest.mark.parametrize(
    ("text", "is_map"),
    [("tag = []", True), ("[[tag]]", True), ("[[bus]]", False), ("[[tag]]\n[[bus]]", False), ("= nothing", False)],
)
def test_a_map_has_tags_and_no_bus(tmp_path: Path, text: str, is_map: bool) -> None:
    (tmp_path / "some.toml").write_text(text)
    assert is_device_map(str(tmp_path / "some.toml")) is is_map
    assert not is_device_map(str(tmp_path / "none.toml"))
