"""A thread and how it shall be scheduled in, one that the kernel runs sooner out, and notes of what was refused."""

import os
from threading import Thread
from typing import NamedTuple

from agent.acquire.kernel import Note, reason


class Scheduling(NamedTuple):
    """What `[gateway]` says of the thread that serves the buses."""

    priority: int = 0  # of SCHED_FIFO; 0: like every other thread
    cpu: int | None = None  # the only one it runs on


def hasten(thread: Thread, wanted: Scheduling) -> list[Note]:
    """Schedule a thread that has started as wanted, as far as this process may."""
    if thread.native_id is None:
        raise RuntimeError(f"{thread.name} has not started")
    notes = []
    if wanted.priority:
        notes.append(_set_priority(thread.native_id, wanted.priority))
    if wanted.cpu is not None:
        notes.append(_pin(thread.native_id, wanted.cpu))
    return notes


def _set_priority(thread: int, priority: int) -> Note:
    what = f"loop_priority = {priority}"
    try:
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        remedy = f"allow it with LimitRTPRIO={priority} in the service's unit, or rtprio in /etc/security/limits.conf"
        return Note(what, False, f"runs like every other thread ({reason(error)})", remedy)
    return Note(what, True, "SCHED_FIFO")


def _pin(thread: int, cpu: int) -> Note:
    what = f"loop_cpu = {cpu}"
    try:
        os.sched_setaffinity(thread, {cpu})
    except OSError as error:
        may = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        return Note(what, False, f"runs on any CPU ({reason(error)})", f"this process may use {may}")
    return Note(what, True, "pinned")
