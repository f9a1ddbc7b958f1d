"""The loop of the TCP links with all the threads that talk to it: nothing races, and every errand ends once."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "_native"
UNITS = [
    *(
        "linkloop",
        "link",
        "linkdetour",
        "width",
        "errand",
        "flights",
        "schedule",
        "silence",
        "busplan",
        "inherit",
        "variant",
    ),
    *("guard", "histogram", "mishap", "trace", "modbus", "crc", "decode", "ring"),
]
FLAGS = {
    "plain": ["-O2"],
    "thread sanitizer": ["-O1", "-g", "-fsanitize=thread", "-no-pie", "-Wno-tsan"],  # it overlooks the trace's fence
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_two_links_are_written_to_replanned_cut_and_watched_by_many_threads(tmp_path: Path, flags: list[str]) -> None:
    program = tmp_path / "link_stress"
    sources = [HERE / "c" / "link_stress.c", *(NATIVE / "core" / f"{unit}.c" for unit in UNITS)]
    compiler = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{NATIVE}"]
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # `make asan` sets one of its own
    subprocess.run([*compiler, *flags, *sources, "-o", program], check=True, timeout=120, env=env)
    run = subprocess.run([program], capture_output=True, text=True, timeout=300, check=False, env=env)
    assert run.returncode == 0, run.stdout + run.stderr
