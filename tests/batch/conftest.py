"""Golden files, the cases they were made from, and the readers in docs."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

GOLDEN = Path(__file__).parent / "golden"
DECODERS = Path(__file__).parents[2] / "docs" / "decoders"


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The script that made the golden files: cases, samples, expectations."""
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=sorted(path.name for path in GOLDEN.glob("*.json")))
def golden_path(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / str(request.param)


@pytest.fixture(scope="session")
def go_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that the reader in Go is compiled to."""
    if not shutil.which("go"):
        pytest.skip("this machine has no go")
    program = tmp_path_factory.mktemp("go") / "decode"
    subprocess.run(["go", "build", "-o", program, "."], cwd=DECODERS / "go", check=True)
    return program


@pytest.fixture(scope="session", params=["python", "javascript", "go"])
def decoder(request: pytest.FixtureRequest) -> list[str]:
    """The command line of a reader in docs."""
    if request.param == "python":
        return [sys.executable, str(DECODERS / "python" / "decode.py")]
    if request.param == "go":
        return [str(request.getfixturevalue("go_decoder"))]
    if not shutil.which("node"):
        pytest.skip("this machine has no node")
    return ["node", str(DECODERS / "javascript" / "decode.mjs")]
