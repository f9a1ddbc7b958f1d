"""Both native loops with all the threads that talk to them, under the sanitizers: nothing races, leaks or is wrong."""

from pathlib import Path

import pytest
from programs import ADDRESS_SANITIZER, THREAD_SANITIZER, build, complaints

FLAVOURS = {"thread sanitizer": THREAD_SANITIZER, "address sanitizer": ADDRESS_SANITIZER}


@pytest.mark.parametrize("flags", FLAVOURS.values(), ids=FLAVOURS)
def test_plans_ports_errands_and_readers_come_and_go_while_all_is_polled(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    assert complaints(build("loops_stress", tmp_path, flags)) == ""


@pytest.mark.parametrize("flags", FLAVOURS.values(), ids=FLAVOURS)
def test_every_write_over_links_that_are_cut_ends_once_and_none_is_sent_twice(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    assert complaints(build("link_stress", tmp_path, flags)) == ""
