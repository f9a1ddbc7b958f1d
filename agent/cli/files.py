"""A path and what belongs there in, a file that is whole out."""

from pathlib import Path

from agent.errors import StoreError


def save(path: Path, data: bytes, what: str) -> None:
    """Put `data` at `path`, whole or not at all. Raises StoreError that says `what` could not be written, and why."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot write {what}: {error.strerror}") from error
