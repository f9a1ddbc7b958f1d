"""`fieldtap run`: what it says about what becomes of the samples it has read."""

from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = """\
schema = 1
[store]
path = "{store}"
[[bus]]
name = "rs485"
port = "/dev/no-such-port"
[[bus.device]]
name = "pump"
unit = 7
[[bus.device.tag]]
name = "pressure"
register = "holding:100"
type = "f32"
"""


@pytest.fixture
def run(fieldtap: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[[Path], str]:
    """The last line of the log of an agent with this store."""

    def run_briefly(store: Path) -> str:
        path = tmp_path / "gateway.toml"
        path.write_text(CONFIG.format(store=store))
        caplog.set_level("INFO")
        assert fieldtap("run", str(path), "--duration", "0.2").code == 0
        return caplog.records[-1].getMessage()

    return run_briefly


def test_at_the_end_it_says_what_waits_in_the_store(run: Callable, tmp_path: Path) -> None:
    assert run(tmp_path / "store").endswith(": ended, 1 batches wait in the store")


def test_what_only_memory_held_is_called_lost_and_not_stored(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    said = run(tmp_path / "store")
    assert "of 1 batches those in memory are lost" in said
    assert "File exists" in said
