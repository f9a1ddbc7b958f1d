"""A build flavour in, extensions of that flavour and no other out."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with one extension only: three flavours of it are built in seconds."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    ignore = shutil.ignore_patterns("_native", "firmware_profiles", "__pycache__")
    shutil.copytree(ROOT / "agent", tree / "agent", ignore=ignore)
    shutil.copytree(ROOT / "_native/core", tree / "_native/core")
    for name in ("__init__.py", "samples.pyx", "samples.pxd"):
        shutil.copy(ROOT / "_native" / name, tree / "_native")
    (tree / "firmware_profiles").mkdir()
    return tree


def built_as(tree: Path, flavour: str, run) -> Path:
    """Build in place; the one extension there is."""
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=tree, FIELDTAP_BUILD=flavour)
    (extension,) = (tree / "_native").glob("*.so")
    return extension


def test_each_flavour_replaces_the_one_before(small_tree, run):
    release = built_as(small_tree, "release", run)
    assert release.name == "samples.abi3.so"
    asan = built_as(small_tree, "asan", run)
    assert b"__asan_init" in asan.read_bytes()
    trace = built_as(small_tree, "trace", run)
    assert b"__asan_init" not in trace.read_bytes()
    assert "__Pyx_TraceLine" in (small_tree / "_native/samples.c").read_text()
    back = built_as(small_tree, "release", run)
    assert back.name == "samples.abi3.so"
    assert "__Pyx_TraceLine" not in (small_tree / "_native/samples.c").read_text()


def test_a_build_of_the_same_flavour_keeps_what_is_fresh_and_a_header_makes_it_stale(small_tree, run):
    built_as(small_tree, "release", run)
    (generated,) = (small_tree / "_native").glob("*.c")
    built = next((small_tree / "build").glob("lib.*/agent/_native/samples.abi3.so"))
    before = built.stat().st_mtime_ns, generated.stat().st_mtime_ns
    built_as(small_tree, "release", run)
    assert (built.stat().st_mtime_ns, generated.stat().st_mtime_ns) == before
    (small_tree / "_native/core/sample.h").touch()
    built_as(small_tree, "release", run)
    assert built.stat().st_mtime_ns > before[0]


def test_an_unknown_flavour_is_refused_with_the_ones_there_are(small_tree):
    env = {"FIELDTAP_BUILD": "fast"}
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext"], cwd=small_tree, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "FIELDTAP_BUILD=fast: choose one of release, trace, asan" in done.stderr


def test_every_compiled_module_has_its_stub():
    sources = {path.stem for path in (ROOT / "_native").glob("*.pyx")}
    assert sources == {path.stem for path in (ROOT / "_native").glob("*.pyi")}
