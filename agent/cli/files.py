"""A path and what belongs there in, a file that is whole out."""

import errno
import os
from pathlib import Path

from agent.errors import StoreError


def expect_to_save(path: Path, what: str) -> None:
    """Raise now, before a run that may be long, what `save` would raise at its end."""
    if path.is_dir():
        number = errno.EISDIR
    elif not path.parent.is_dir():
        number = errno.ENOENT
    elif not os.access(path.parent, os.W_OK):
        number = errno.EACCES
    else:
        return
    raise StoreError(f"{path}: cannot write {what}: {os.strerror(number)}")


def save(path: Path, data: bytes, what: str) -> None:
    """Put `data` at `path`, whole or not at all. Raises StoreError that says `what` could not be written, and why."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot write {what}: {error.strerror}") from error
