"""A checkout in, clones, sdists, wheels and virtual environments of it out."""

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL_TIMEOUT_S = 600  # a cold package index and a slow card; usually under a minute

Run = Callable[..., str]


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command with nothing of this test run in its environment; give back what it said, stderr too."""

    def run(*command: str | Path, cwd: Path, talk: bool = True, **env: str) -> str:
        ours = ("PYTHONPATH", "FIELDTAP_BUILD", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
        clean = {name: value for name, value in os.environ.items() if name not in ours}
        done = subprocess.run(
            command,
            cwd=cwd,
            env=clean | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if talk else subprocess.PIPE,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, (
            f"{' '.join(map(str, command))} gave {done.returncode}:\n{(done.stderr or done.stdout)[-8000:]}"
        )
        return done.stdout

    return run


@pytest.fixture
def clone(tmp_path: Path, run: Run) -> Path:
    """What everyone else sees: the last commit, in a folder of its own."""
    if not (ROOT / ".git").exists():
        pytest.skip("this machine has no git checkout of fieldtap")
    run("git", "clone", "--quiet", ROOT, tmp_path / "clone", cwd=tmp_path)
    return tmp_path / "clone"


@pytest.fixture
def new_venv(tmp_path: Path) -> Path:
    """The programs' folder of an empty virtual environment of this Python."""
    venv.create(tmp_path / "venv", with_pip=True)
    return tmp_path / "venv" / "bin"


class Distributions:
    """An sdist of the working tree, and the wheel that was built from the sdist alone."""

    def __init__(self, folder: Path) -> None:
        self.sdist = next(folder.glob("*.tar.gz"))
        self.wheel = next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Distributions:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return Distributions(folder)
