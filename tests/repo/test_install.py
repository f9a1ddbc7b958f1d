"""A clone of the repository in, a working command out, however it is installed."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

VERSIONS = ("3.11", "3.12", "3.13")  # the wheel is built for the first and must serve them all
COMPILED_ANEW = ("test_fault_matrix.py", "test_fuzz.py", "test_threads.py")  # from the sources: no test of a wheel


def test_pip_install_of_a_clone_gives_a_command_that_needs_no_checkout(clone, new_venv, tmp_path, run):
    run(new_venv / "pip", "install", "-q", ".", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    clone.rename(tmp_path / "elsewhere")
    assert "fieldtap" in run(new_venv / "fieldtap", "version", cwd=tmp_path)
    assert "site-packages" in run(
        new_venv / "python", "-c", "import agent._native.samples as m; print(m.__file__)", cwd=tmp_path
    )


def test_editable_install_of_a_clone_runs_the_clone_and_sees_new_files(clone, new_venv, tmp_path, run):
    run(new_venv / "pip", "install", "-q", "-e", ".", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    assert "fieldtap" in run(new_venv / "fieldtap", "version", cwd=tmp_path)
    (clone / "agent" / "added_later.py").write_text("from agent._native import samples\nprint(samples.__file__)\n")
    assert str(clone) in run(new_venv / "python", "-m", "agent.added_later", cwd=tmp_path)


def test_make_demo_of_a_clone_prints_one_document_whose_samples_are_all_right(clone, run, tmp_path):
    shown = run("sh", "-c", "make demo ARGS='--duration 3 --json' 2>../said", cwd=clone)
    steps = [line for line in (tmp_path / "said").read_text().splitlines() if line.startswith("make: ")]
    assert [step.split()[1] for step in steps] == ["creating", "installing", "compiling"]
    received = json.loads(shown)["received"]
    assert received["samples"] > 0
    assert (received["missing"], received["duplicates"], received["wrong_values"]) == (0, 0, 0)
    assert run("git", "status", "--porcelain", cwd=clone) == ""


def test_sdist_has_every_source_once_and_nothing_generated(distributions):
    with tarfile.open(distributions.sdist) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    native = {name for name in names if name.startswith("_native/")}
    assert {"_native/samples.pyx", "_native/samples.pxd", "_native/samples.pyi", "_native/core/sample.h"} <= native
    assert {name for name in native if name.endswith(".c")} == {
        name for name in native if name.startswith("_native/core/") and name.endswith(".c")
    }
    assert any(name.endswith(".c") for name in native)
    assert not [
        name for name in names if name.startswith(("agent/_native", "agent/firmware_profiles")) or name.endswith(".so")
    ]
    assert {"tests/conftest.py", "Makefile", ".ci/run", "LICENSE"} <= set(names)


def test_wheel_has_compiled_modules_stubs_and_data_but_no_sources(distributions):
    assert "-cp311-abi3-linux_" in distributions.wheel.name
    names = zipfile.ZipFile(distributions.wheel).namelist()
    stubs = {Path(name).stem for name in names if name.startswith("agent/_native/") and name.endswith(".pyi")}
    compiled = {Path(name).name.split(".")[0] for name in names if name.endswith(".abi3.so")}
    assert stubs == compiled >= {"samples"}
    assert "agent/py.typed" in names
    assert any(name.startswith("agent/firmware_profiles/") and name.endswith(".toml") for name in names)
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx", ".o"))]


@pytest.mark.parametrize("version", VERSIONS)
def test_wheel_passes_the_native_tests_of_its_sdist(version, distributions, tmp_path, run):
    python = find_python(version)
    run("tar", "-xzf", distributions.sdist, cwd=tmp_path)  # Debian 12's tarfile does not know filters yet
    source = next(tmp_path.glob("fieldtap-*"))
    (source / "agent").rename(tmp_path / "agent-of-the-sdist")  # only the installed one is to be found
    run(python, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(tmp_path / "venv/bin/pip", "install", "-q", f"{distributions.wheel}[test]", cwd=tmp_path)
    others = [f"--ignore=tests/native/{name}" for name in COMPILED_ANEW]
    assert " passed" in run(tmp_path / "venv/bin/pytest", "-q", *others, "tests/native", "tests/process", cwd=source)


def find_python(version: str) -> str:
    """A Python of that version that can make virtual environments: on the path, or installed beside this one."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python3"))  # as version managers lay them out
    for candidate in (f"python{version}", *map(str, beside)):
        code = f"import ensurepip, sys; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
        try:
            if subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode == 0:
                return candidate
        except FileNotFoundError:
            continue
    pytest.skip(f"this machine has no python{version}")
