"""Broken files beside what must be said about them, to the letter; and good ones about which nothing is said."""

from pathlib import Path

import pytest

from agent.config import check_config, load_config
from agent.errors import ConfigError

HERE = Path(__file__).parent
BROKEN = sorted(
    path.relative_to(HERE / "broken") for path in (HERE / "broken").rglob("*.toml") if "conf.d" not in path.parts
)
WARNED = sorted((HERE / "warned").glob("*.toml"))
GOOD = sorted((HERE / "good").glob("*.toml"))


def expected(path: Path) -> list[str]:
    beside = path.parent / "expected" if path.name == "gateway.toml" else path.with_suffix(".expected")
    return beside.read_text().splitlines()


@pytest.fixture(autouse=True)
def at_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / "broken")
    monkeypatch.delenv("FIELDTAP_NO_SUCH_VARIABLE", raising=False)


def test_the_corpus_has_at_least_60_broken_files() -> None:
    assert len(BROKEN) >= 60


@pytest.mark.parametrize("path", BROKEN, ids=str)
def test_every_mistake_of_a_broken_file_is_reported_with_its_place(path: Path) -> None:
    checked = check_config(str(path))
    assert [str(mistake) for mistake in checked.mistakes] == expected(path)
    assert checked.config is None


@pytest.mark.parametrize("path", BROKEN, ids=str)
def test_no_agent_starts_with_a_broken_file(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert caught.value.mistakes
    assert str(caught.value) == "\n".join(caught.value.mistakes)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_nothing_is_said_about_a_good_file(path: Path) -> None:
    checked = check_config(str(path), read_secrets=True)
    assert (checked.mistakes, checked.warnings) == ([], [])
    assert checked.config is not None


@pytest.mark.parametrize("path", WARNED, ids=lambda path: path.stem)
def test_what_works_but_is_hardly_meant_is_a_warning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    checked = check_config(path.name)
    assert checked.mistakes == []
    assert [str(warning) for warning in checked.warnings] == expected(path)
