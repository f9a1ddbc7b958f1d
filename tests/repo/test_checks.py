"""A mistake planted on purpose in, the check that must find it says so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignore = shutil.ignore_patterns("firmware_profiles", "__pycache__", "*.so", "*.c")
    shutil.copytree(ROOT / "agent", tmp_path / "agent", ignore=ignore)
    return tmp_path


def lint_imports(tree: Path) -> str:
    done = subprocess.run([BIN / "lint-imports"], cwd=tree, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode else ""


@pytest.mark.parametrize(
    ("where", "line", "found"),
    [
        ("model.py", "import agent.store", "agent.model is not allowed to import agent.store"),
        ("store/__init__.py", "import agent.acquire", "agent.store is not allowed to import agent.acquire"),
        ("model.py", "import socket", "agent.model is not allowed to import socket"),
        ("model.py", "from time import monotonic", "agent.model is not allowed to import time"),
        ("store/journal.py", "import os", "agent.store.journal is not allowed to import os"),
        ("unplanned.py", "", "agent.unplanned"),
    ],
)
def test_import_against_the_flow_breaks_a_contract(copy, where, line, found):
    with (copy / "agent" / where).open("a") as module:
        module.write(f"\n{line}\n")
    assert found in lint_imports(copy)


def test_imports_as_they_are_break_no_contract(copy):
    assert lint_imports(copy) == ""


@pytest.fixture
def suite(tmp_path: Path):
    """Runs pytest on one test written here, under the rules of tests/conftest.py."""
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)

    def suite(body: str) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(f"import pytest\n{body}\n")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--rootdir",
            tmp_path,
            tmp_path,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    return suite


SKIPS = {
    "in the body": "def test_a(): pytest.skip('{}')",
    "as a mark": "@pytest.mark.skip(reason='{}')\ndef test_a(): pass",
    "of the module": "pytest.skip('{}', allow_module_level=True)",
    "in a fixture": "@pytest.fixture\ndef peer(): pytest.skip('{}')\ndef test_a(peer): pass",
}


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
def test_skip_for_a_reason_of_our_own_fails_the_run_and_is_named(suite, skip):
    code, said = suite(skip.format("too slow"))
    assert code in (1, 2)
    assert "too slow" in said


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
def test_skip_for_what_the_machine_lacks_is_listed_at_the_end(suite, skip):
    code, said = suite(f"def test_runs(): pass\n{skip.format('this machine has no python4')}")
    assert code == (5 if "allow_module_level" in skip else 0)
    assert said.rindex("did not run") < said.rindex("this machine has no python4") < said.rindex("1 skipped")


def test_expected_failure_is_no_way_around(suite):
    code, _ = suite("@pytest.mark.xfail(reason='later')\ndef test_a(): assert False")
    assert code == 1


def host_check(python: Path | str, **env: str) -> tuple[int, str]:
    command = [ROOT / ".ci/check-host", python]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_host_check_accepts_the_machine_that_built_this():
    assert host_check(sys.executable) == (0, "")


def test_host_check_says_how_to_name_a_newer_python(tmp_path):
    old = program(tmp_path / "python", '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    code, said = host_check(old)
    assert code == 1
    assert "3.11 or newer" in said
    assert "Python 3.9.2" in said
    assert "make PYTHON=" in said


def test_host_check_gives_one_line_that_installs_all_that_is_missing(tmp_path):
    bare = program(
        tmp_path / "python",
        f'case "$2" in *ensurepip*) exit 1;; *sysconfig*) echo /nonexistent;; *) exec {sys.executable} "$@";; esac',
    )
    code, said = host_check(bare, CC="/nonexistent/cc")
    assert code == 1
    assert said.endswith("    sudo apt-get install -y python3-venv python3-dev gcc libc6-dev\n")


def test_peers_that_may_not_be_installed_stop_with_the_line_that_does(tmp_path):
    program(tmp_path / "id", "echo 1000")
    program(tmp_path / "sudo", "exit 1")
    command = [shutil.which("bash"), ROOT / ".ci/install-peers"]
    env = {"PATH": str(tmp_path), "CC": "/nonexistent/cc"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("    sudo apt-get install -y --no-install-recommends ")
    assert {"libmodbus-dev", "strace", "nodejs"} <= set(line.split())


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_make_alone_lists_every_target():
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in said.splitlines()}
    assert targets >= {
        "demo",
        "test",
        "check",
        "check-c",
        "asan",
        "trace",
        "bench",
        "wheel",
        "sdist",
        "faults",
        "clean",
        "dev",
    }
