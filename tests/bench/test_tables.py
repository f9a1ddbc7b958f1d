"""The README's numbers can be printed: every table runs and names what it compares. No number is asserted here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 300
NAMES = {
    "acquisition": ["fieldtap", "libmodbus", "pymodbus async", "of ceiling"],
    "tcp": ["fieldtap, 1 under way", "fieldtap, 16 under way", "libmodbus", "pymodbus async"],
    "punctuality": ["fieldtap", "pymodbus", "p50"],
    "late_answers": ["fieldtap", "libmodbus", "pymodbus async", "minimalmodbus", "WRONG"],
    "batch_sizes": ["fieldtap columns", "fieldtap plain", "Sparkplug B", "JSON per sample"],
    "store": ["healthy link", "a restart with a full journal"],
    "simulator": ["fieldtap", "pymodbus"],
    "uplink": ["1 messages/s"],
    "end_to_end": ["of 800 samples/s", "pymodbus + paho", "flat out"],
    "footprint": ["fieldtap version", "200 tags"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_printed(name):
    done = benchmarks(name, "--quick")
    assert done.returncode == 0, done.stderr
    assert all(row in done.stdout for row in NAMES[name]), done.stdout


def test_no_table_is_left_out_here():
    assert ", ".join(NAMES) in benchmarks("--help").stdout


def test_all_tables_are_printed_where_none_is_named():
    program = "import benchmarks.__main__ as b; b.table = lambda name, quick: print(name) or 0; b.main()"
    assert python("-c", program).stdout.split() == list(NAMES)


def test_a_table_that_there_is_not_is_told_with_those_there_are():
    done = benchmarks("footprint", "feetprint")
    assert done.returncode == 2
    assert "no table feetprint: choose from acquisition, tcp" in done.stderr


def benchmarks(*words):
    return python("-m", "benchmarks", *words)


def python(*words):
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin", "COLUMNS": "500"}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
