"""A text becomes a configuration file, a configuration, or mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import check_config, load_config
from agent.config.model import Config, Device

BUS = '[[bus]]\nname = "rs485"\nport = "/dev/ttyUSB0"\n'
DEVICE = '[[bus.device]]\nname = "pump"\nunit = 7\n'
TAG = '[[bus.device.tag]]\nname = "pressure"\nregister = "holding:100"\ntype = "f32"\n'


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    """Write a configuration, and what belongs in conf.d beside it, by name."""

    def write(text: str, **fragments: str) -> str:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, fragment in fragments.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(fragment)
        return str(path)

    return write


@pytest.fixture
def loaded(written: Callable[..., str]) -> Callable[..., Config]:
    """The configuration a text gives an agent."""
    return lambda text, **fragments: load_config(written(text, **fragments))


@pytest.fixture
def mistakes(written: Callable[..., str], tmp_path: Path) -> Callable[..., list[str]]:
    """What is wrong with a text, without the folder of the test."""

    def collect(text: str, *, running: bool = False, **fragments: str) -> list[str]:
        found = check_config(written(text, **fragments), read_secrets=running).mistakes
        return [str(mistake).replace(f"{tmp_path}/", "") for mistake in found]

    return collect


@pytest.fixture
def device(loaded: Callable[..., Config]) -> Callable[..., Device]:
    """The only device of a configuration whose [[bus.device]] goes on with `text`."""
    return lambda text, **fragments: loaded(f"schema = 1\n{BUS}{DEVICE}{text}", **fragments).buses[0].devices[0]


@pytest.fixture
def valid() -> str:
    """The smallest configuration."""
    return f"schema = 1\n{BUS}{DEVICE}{TAG}"
