"""The clocks: boot time is the base, the wall's offset and quality come from the kernel."""

import time
from pathlib import Path

from agent import clock
from agent.model import NS_PER_S

AGREE_NS = NS_PER_S // 10  # two readings of clocks on a busy machine


def test_boot_time_plus_the_offset_is_the_wall_clock():
    wall = clock.wall_clock()
    assert abs(clock.boot_ns() + wall.offset_ns - time.time_ns()) < AGREE_NS


def test_boot_time_counts_from_the_boot():
    uptime_ns = int(float(Path("/proc/uptime").read_text().split()[0]) * NS_PER_S)
    assert abs(clock.boot_ns() - uptime_ns) < AGREE_NS


def test_a_synchronised_clock_says_how_far_off_it_may_be(monkeypatch):
    monkeypatch.setattr(clock, "_adjtimex", lambda: (0, 12_500))
    assert clock.wall_clock()[1:] == (2, 12)


def test_a_clock_that_was_only_set_is_no_better_than_an_rtc(monkeypatch):
    monkeypatch.setattr(clock, "_adjtimex", lambda: (clock.STA_UNSYNC, 99_000_000))
    assert clock.wall_clock()[1:] == (1, clock.MAX_ERROR_US // 1000)


def test_the_kernel_answers():
    status, max_error_us = clock._adjtimex()
    assert status >= 0
    assert 0 <= max_error_us <= clock.MAX_ERROR_US * 2
