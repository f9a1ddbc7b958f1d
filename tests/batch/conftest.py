"""Golden files and the cases they were made from."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

GOLDEN = Path(__file__).parent / "golden"


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
