"""Where the sockets of running agents lie: one for each, by its process number, in a folder that goes with a reboot."""

import os
from collections.abc import Iterator
from pathlib import Path

SYSTEM = Path("/run/fieldtap")
SUFFIX = ".sock"


def folders() -> list[Path]:
    """Where sockets may lie, the best place first: a service's own, the system's, that of the user's login."""
    of_service = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    of_login = os.environ.get("XDG_RUNTIME_DIR")
    named = [Path(of_service) if of_service else None, SYSTEM, Path(of_login) / "fieldtap" if of_login else None]
    return [folder for folder in named if folder is not None]


def own_path() -> Path:
    """Where this process puts its socket; the folder is made. Raises OSError when there is no place."""
    refused: OSError | None = None
    for folder in folders():
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            refused = error
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder / f"{os.getpid()}{SUFFIX}"
    raise refused or PermissionError("no folder for sockets may be written to")


def sweep(folder: Path) -> None:
    """Remove what agents that were killed have left behind."""
    for path in folder.glob(f"*{SUFFIX}"):
        if not Path("/proc", path.stem).exists():
            path.unlink(missing_ok=True)


def all_paths() -> Iterator[Path]:
    """The sockets of all agents, those that were left behind included."""
    for folder in folders():
        yield from sorted(folder.glob(f"*{SUFFIX}"))
