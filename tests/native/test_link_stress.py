"""The loop of the TCP links with all the threads that talk to it: nothing races, and every errand ends once."""

from pathlib import Path

import pytest
from programs import THREAD_SANITIZER, build, complaints

FLAGS = {"plain": ["-O2"], "thread sanitizer": THREAD_SANITIZER}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_two_links_are_written_to_replanned_cut_and_watched_by_many_threads(tmp_path: Path, flags: list[str]) -> None:
    assert complaints(build("link_stress", tmp_path, flags)) == ""
