"""fieldtap version: the facts, and that asking for them costs next to nothing."""

import json
import re
import sys
from collections.abc import Callable
from datetime import date
from importlib.metadata import metadata
from pathlib import Path

import pytest

import agent
from agent._native import flavour
from agent.cli import version


def test_it_names_version_build_licence_and_support_end(fieldtap: Callable) -> None:
    said = fieldtap("version")
    assert (said.code, said.err) == (0, "")
    assert re.fullmatch(
        rf"fieldtap {re.escape(agent.__version__)} \((release|trace|asan), (gcc|clang) .+, .+, cpython 3\.\d+\.\S+\)\n"
        r"licence Apache-2\.0, security fixes until \d{4}-\d\d-\d\d\n",
        said.out,
    )


def test_as_json_it_is_one_document(fieldtap: Callable) -> None:
    document = json.loads(fieldtap("version", "--json").out)
    assert document["version"] == agent.__version__
    assert document["licence"] == "Apache-2.0"
    assert document["build"]["python"] == f"cpython {sys.version.split()[0]}"
    assert date.fromisoformat(document["support_end"]) > date(2026, 11, 22)


def test_version_and_licence_are_those_of_the_distribution() -> None:
    project = metadata("fieldtap")
    assert (project["Version"], project["License-Expression"]) == (agent.__version__, version.LICENCE)


def test_the_support_that_is_promised_ends_on_the_day_it_prints() -> None:
    promise = (Path(__file__).parents[2] / "SECURITY.md").read_text()
    assert re.findall(r"\d{4}-\d\d-\d\d", promise) == [version.SUPPORT_END]
    assert f"for {agent.__version__.rpartition('.')[0]} is {version.SUPPORT_END}" in promise


def test_the_mark_in_the_file_is_what_the_compiled_module_says(fieldtap: Callable) -> None:
    build = json.loads(fieldtap("version", "--json").out)["build"]
    assert f"@(#)fieldtap {build['flavour']}, {build['compiler']}" == flavour.BUILT_AS.strip()
    assert f".{build['abi']}." in Path(flavour.__file__).name


def test_an_installation_without_compiled_parts_says_so(
    fieldtap: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "__file__", str(tmp_path / "__init__.py"))
    assert json.loads(fieldtap("version", "--json").out)["build"]["flavour"] == "not compiled"
    (tmp_path / "_native").mkdir()
    assert json.loads(fieldtap("version", "--json").out)["build"]["flavour"] == "not compiled"


HEAVY = {
    "asyncio",
    "msgpack",
    "msgspec",
    "numpy",
    "paho",
    "pymodbus",
    "shutil",
    "serial",
    "inspect",
    "dataclasses",
    "tomllib",
    "importlib_metadata",
}


def test_nothing_heavy_is_imported(modules_of: Callable) -> None:
    assert modules_of("version") & HEAVY == set()
