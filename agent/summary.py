"""Counters of every stage in, the summary document of `run --summary` and `demo --json` out."""

import resource
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import StoreError

PAGE_BYTES = resource.getpagesize()


def resident_bytes() -> int:
    """Memory of this process that is in RAM now, in bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def cpu_s() -> float:
    """Processor time this process has used, user and system, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def write(path: Path, document: str) -> None:
    """Put `document` at `path`, whole or not at all. Raises StoreError with the reason."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(document + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot write the summary: {error.strerror}") from error


def as_json(document: dict[str, Any]) -> str:
    """One line of JSON."""
    return msgspec.json.encode(document).decode()
