"""Who wrote what, and what came of it, in; a line of the log and one of JSON in a file of bounded size out."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from agent.digits import finite

MOST_BYTES = 1 << 20  # of the file, some 5000 writes; what was before stays in a second one of the same size
NAME = "writes.jsonl"

log = logging.getLogger(__name__)


class Audit:
    """The record of all writes under one folder: `writes.jsonl`, and `writes.jsonl.1` with what was before."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path = folder / NAME
        self._most_bytes = most_bytes

    def record(self, **facts: Any) -> None:
        """Append one line. A disk that is full or gone costs the file's line, not the write and not the log's."""
        line = json.dumps({key: finite(fact) for key, fact in facts.items()}, allow_nan=False)
        log.info("write: %s", line)
        try:
            self._append(line.encode() + b"\n")
        except OSError as error:
            log.warning("%s: the write above is not recorded: %s", self._path, error.strerror)

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(line) > self._most_bytes:
            self._path.replace(self._path.with_name(NAME + ".1"))
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)
