"""A configuration of one device that has a map, as a user would write it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import check_config
from agent.config.model import Config

UNIT = 17


@pytest.fixture
def with_map(tmp_path: Path) -> Callable[..., Config]:
    def config(name: str, more: str = 'every = "10 s"', port: str = "/dev/x") -> Config:
        path = tmp_path / "gateway.toml"
        path.write_text(
            f'schema = 1\n[[bus]]\nname = "b"\nport = "{port}"\n' + ("" if "://" in port else "baud = 9600\n")
            + f'[[bus.device]]\nname = "d"\nunit = {UNIT}\ndevice = "{name}"\n{more}\n'
        )  # fmt: skip
        checked = check_config(str(path))
        assert checked.mistakes == []
        assert all("start" in warning.message for warning in checked.warnings)
        assert checked.config
        return checked.config

    return config
