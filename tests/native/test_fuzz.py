"""Buses and links to which anything happens, under the sanitizers; `make fuzz` goes on for as long as one likes."""

from pathlib import Path

from programs import ADDRESS_SANITIZER, build, complaints

SEED, RUNS = "1", "200"


def test_whatever_happens_no_memory_is_harmed_and_what_answers_is_read_again(tmp_path: Path) -> None:
    assert complaints(build("fuzz_core", tmp_path, ADDRESS_SANITIZER), SEED, RUNS) == ""
