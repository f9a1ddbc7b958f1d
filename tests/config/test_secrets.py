"""Where secrets come from, and what is said when they do not come."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import check_config, files
from agent.config.model import Config


def mqtt(password: str) -> str:
    return f'[mqtt]\nurl = "mqtt://b"\npassword = {password}\n'


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def password(config: Config) -> str | None:
    return config.mqtt.password if config.mqtt else None


def test_a_file_gives_its_text_without_the_last_line_end(
    loaded: Callable[..., Config], valid: str, tmp_path: Path
) -> None:
    (tmp_path / "pw").write_text(" s3cret \r\n")
    assert password(loaded(valid + mqtt('{ file = "pw" }'))) == " s3cret "


def test_a_relative_file_is_beside_the_file_that_names_it(
    loaded: Callable[..., Config], valid: str, tmp_path: Path
) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "pw").write_text("near")
    assert password(loaded(valid, a=mqtt('{ file = "pw" }'))) == "near"


def test_the_environment_gives_a_secret(
    loaded: Callable[..., Config], valid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTAP_TEST_SECRET", "s3cret")
    assert password(loaded(valid + mqtt('{ env = "FIELDTAP_TEST_SECRET" }'))) == "s3cret"


def test_systemd_credentials_give_a_secret(
    loaded: Callable[..., Config], valid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mqtt").write_text("s3cret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert password(loaded(valid + mqtt('{ credential = "mqtt" }'))) == "s3cret"


def test_the_user_name_may_be_a_secret_too(loaded: Callable[..., Config], valid: str, tmp_path: Path) -> None:
    (tmp_path / "name").write_text("gw1\n")
    config = loaded(valid + '[mqtt]\nurl = "mqtt://b"\nusername = { file = "name" }\n')
    assert config.mqtt is not None
    assert config.mqtt.username == "gw1"


def test_a_check_looks_for_secrets_and_does_not_read_them(
    written: Callable[..., str], valid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pw").write_text("s3cret")
    monkeypatch.setattr(files, "read_secret", lambda path: pytest.fail("read"))
    checked = check_config(written(valid + mqtt('{ file = "pw" }')))
    assert checked.config is not None
    assert password(checked.config) is None


def test_credentials_cannot_be_looked_for_outside_the_unit_which_is_a_warning(
    written: Callable[..., str], mistakes: Callable[..., list[str]], valid: str
) -> None:
    text = valid + mqtt('{ credential = "mqtt" }')
    assert "$CREDENTIALS_DIRECTORY is not set here" in check_config(written(text)).warnings[0].message
    assert mistakes(text, running=True) == [
        "gateway.toml:14:27: password: credential 'mqtt': $CREDENTIALS_DIRECTORY is not set; "
        "it is where systemd puts what the unit loads with LoadCredential="
    ]


def test_a_file_this_user_may_not_read_is_a_warning_in_a_check_and_a_mistake_in_a_run(
    written: Callable[..., str],
    mistakes: Callable[..., list[str]],
    valid: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "pw").write_text("s3cret")
    text = valid + mqtt('{ file = "pw" }')
    denied = PermissionError(13, "Permission denied")

    def refuse(path: str) -> str:  # root may read everything, so the system's answer is played
        raise denied

    monkeypatch.setattr(files, "why_unreadable", lambda path: denied)
    monkeypatch.setattr(files, "read_secret", refuse)
    checked = check_config(written(text))
    assert checked.config is not None
    assert "not readable for this user" in checked.warnings[0].message
    assert mistakes(text, running=True) == ["gateway.toml:14:21: password: pw: Permission denied"]


MISSING = {
    "empty file": ('{ file = "empty" }', "password: empty: empty"),
    "binary file": ('{ file = "binary" }', "password: binary: not text in UTF-8"),
    "empty variable": (
        '{ env = "FIELDTAP_TEST_EMPTY" }',
        "password: environment variable 'FIELDTAP_TEST_EMPTY' is empty",
    ),
}


@pytest.fixture
def useless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("FIELDTAP_TEST_EMPTY", "")


@pytest.mark.usefixtures("useless")
@pytest.mark.parametrize(("source", "message"), MISSING.values(), ids=MISSING.keys())
def test_a_secret_that_is_none_is_a_mistake(
    mistakes: Callable[..., list[str]], valid: str, source: str, message: str
) -> None:
    found = mistakes(valid + mqtt(source), running=True)
    assert [mistake.partition(": ")[2] for mistake in found] == [message]


def test_a_secret_too_large_to_be_one_is_a_mistake(
    mistakes: Callable[..., list[str]], valid: str, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(b"x" * (files.MAX_SECRET_BYTES + 1))
    found = mistakes(valid + mqtt('{ file = "image" }'), running=True)
    assert found == ["gateway.toml:14:21: password: image: larger than 65536 bytes"]
