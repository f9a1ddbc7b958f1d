"""The bus and the simulated devices as compiled, in virtual time: whatever the line does, no value is a wrong one.

A slice runs with all tests; FIELDTAP_FAULTS=all (`make faults`) runs a million transactions of every mixture and
chunking. Every value says of which unit, table, address and time it is, so that also an old answer of the same register
is wrong. A damaged answer of which the CRC knows nothing, one in 65536, is nobody's to tell, and counted apart.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "_native"
DATA = json.loads((HERE / "data" / "fault_matrix.json").read_text())
UNITS = (
    "bus ending detour errand guard variant patience silence gap histogram mishap busplan inherit rhythm master modbus "
    "crc decode ring simbus ascii server job services diary nameplate requests bank signal encode"
)
SOURCES = UNITS.split()
ALL = os.environ.get("FIELDTAP_FAULTS") == "all"
TRANSACTIONS = 1_000_000 if ALL else 5_000  # of each of the 222
MOST_TAGS = 16  # of one answer
MUTANT_TRANSACTIONS = 200_000  # enough for each to show itself

Run = Callable[..., dict[str, Any]]


def compiled(core: Path, into: Path) -> Path:
    program = into / "fault_matrix"
    sources = [HERE / "c" / "fault_matrix.c", *(core / f"{name}.c" for name in SOURCES)]
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{core.parent}"]
    subprocess.run(["cc", *flags, *map(str, sources), "-o", str(program)], check=True)
    return program


def run_of(program: Path) -> Run:
    def run(options: str, **more: float) -> dict[str, Any]:
        words = [*options.split(), *(f"{key}={value}" for key, value in more.items())]
        done = subprocess.run([program, *words], check=True, capture_output=True, text=True, timeout=300)
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(compiled(NATIVE / "core", tmp_path_factory.mktemp("matrix")))


@pytest.fixture(scope="module")
def mutant(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The program with one place of its sources changed."""

    @cache
    def mutant(what: str) -> Run:
        case = next(case for case in DATA["mutants"] if case["what"] == what)
        core = tmp_path_factory.mktemp("mutant") / "core"
        shutil.copytree(NATIVE / "core", core)
        source = (core / case["file"]).read_text()
        assert case["old"] in source
        (core / case["file"]).write_text(source.replace(case["old"], case["new"], 1))
        return run_of(compiled(core, core.parent))

    return mutant


# --- never a wrong value ---


@pytest.mark.parametrize("chunk", DATA["chunks"])
@pytest.mark.parametrize("mixture", DATA["mixtures"])
def test_no_fault_makes_a_wrong_value(run: Run, mixture: str, chunk: str) -> None:
    seen = run(f"{DATA['mixtures'][mixture]} {DATA['chunks'][chunk]}", n=TRANSACTIONS, seed=7)
    assert seen["wrong"] == 0
    assert seen["by_chance"] <= MOST_TAGS * (2 + 3 * seen["crc_errors"] / 65536)
    assert seen["ok"] > 0.5 * TRANSACTIONS


@pytest.mark.parametrize("deaf_us", [0, 400, 1200])
@pytest.mark.parametrize("mixture", ["late", "all"])
def test_no_fault_makes_a_wrong_value_while_silences_are_learned(run: Run, mixture: str, deaf_us: int) -> None:
    seen = run(f"{DATA['mixtures'][mixture]} learned=1", deaf_us=deaf_us, n=TRANSACTIONS, seed=7)
    assert seen["wrong"] == 0


def test_every_request_keeps_t35_unless_it_was_learned_that_less_will_do(run: Run) -> None:
    assert run("units=3", n=20_000)["gap_violations"] == 0
    assert run("units=3 drop=.01 crc=.01 glitch=.01 exception=.01 truncate=.01", n=20_000)["gap_violations"] == 0
    assert run("units=3 learned=1", n=20_000)["gap_violations"] > 10_000


def test_a_deaf_line_costs_a_handful_of_polls_and_is_read_quicker_where_it_can_be(run: Run) -> None:
    plain, learned, deaf = (
        run(f"set=2 units=4 {options}", **MINUTES_10) for options in ("", "learned=1", "learned=1 deaf_us=900")
    )
    assert learned["ok"] > 1.4 * plain["ok"]
    assert deaf["ok"] > 1.15 * plain["ok"]
    assert deaf["deaf"] == deaf["timeouts"] <= 4 * 10
    assert (deaf["wrong"], learned["timeouts"]) == (0, 0)


@pytest.mark.parametrize("case", DATA["mutants"], ids=lambda case: case["what"])
def test_every_part_of_the_guard_is_needed(mutant: Callable[[str], Run], case: dict[str, str]) -> None:
    assert mutant(case["what"])(case["options"], n=MUTANT_TRANSACTIONS)["wrong"] > 0


@pytest.mark.parametrize("options", ["set=1", "set=1 units=1", "set=2", "set=0", "set=2 units=1 late_ms=101"])
def test_the_guard_costs_little_of_what_is_read(run: Run, mutant: Callable[[str], Run], options: str) -> None:
    unguarded = mutant(DATA["mutants"][0]["what"])(f"{options} late=.02", n=1e12, seconds=600)
    guarded = run(f"{options} late=.02", n=1e12, seconds=600)
    assert guarded["good"] >= 0.95 * unguarded["good"]
    assert (guarded["wrong"], unguarded["wrong"] > 1000) == (0, True)


def test_late_answers_are_recognised_one_by_one(run: Run) -> None:
    """Now and then one damages another unit's answer, which is then lost to the CRC and not to the timeout."""
    seen = run("late=.05", n=TRANSACTIONS)
    assert 0 < seen["timeouts"] <= seen["stale_discarded"] <= seen["timeouts"] + seen["crc_errors"]
    assert seen["crc_errors"] < 0.005 * seen["stale_discarded"]


def test_a_line_that_echoes_damaged_requests_counts_collisions(run: Run) -> None:
    seen = run("echo_bad=.05", n=10_000)
    assert 400 < seen["collisions"] < 600
    assert run("echo_cut=.5", n=10_000)["collisions"] == 0


# --- dead, slow and noisy ---

MINUTES_10 = {"seconds": 600, "n": 1e12}


@pytest.mark.parametrize(
    ("units", "kept"), [(2, 0.95), (31, 0.85)], ids=["one dead of two", "thirty dead of thirty-one"]
)
def test_a_live_unit_keeps_its_rate_beside_dead_ones(run: Run, units: int, kept: float) -> None:
    polls = "set=1 period_ms=50 timeout_ms=1000"
    healthy = run(f"{polls} units=1", **MINUTES_10)
    beside_dead = run(f"{polls} units={units} dead_from=2", **MINUTES_10)
    assert beside_dead["good"] >= kept * healthy["good"]
    assert beside_dead["probes"] > 0 or units == 31  # thirty take turns in the tenth that they get


def test_one_dead_of_eight_at_19200_costs_next_to_nothing(run: Run) -> None:
    bus = "set=1 units=8 baud=19200 timeout_ms=300"
    assert run(f"{bus} dead_from=8", **MINUTES_10)["good"] >= 0.98 * run(bus, **MINUTES_10)["good"]


@pytest.mark.parametrize("units", [1, 8])
def test_mixed_faults_cost_little_more_than_the_answers_they_hit(run: Run, units: int) -> None:
    bus = f"set=1 units={units} baud=19200 timeout_ms=300"
    clean = 1 - 0.01 - 0.01 - 0.01 - 0.005
    mixed = run(f"{bus} drop=.01 crc=.01 glitch=.01 truncate=.005", **MINUTES_10)
    assert mixed["ok"] >= 0.97 * clean * run(bus, **MINUTES_10)["ok"]
    assert mixed["noise_bytes"] > 0
    assert mixed["probes"] == 0


def test_the_window_is_not_waited_out_where_another_shape_can_be_asked_for(run: Run) -> None:
    assert run("set=1 units=1 drop=.01", n=100_000)["barriers"] == 0
