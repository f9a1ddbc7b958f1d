"""Whatever a good file is turned into, the answer is a configuration or a list of mistakes, never a traceback."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.acquire.plan import compile_plan
from agent.config import check_config, files

EVERYTHING = (Path(__file__).parent / "good" / "everything.toml").read_text()
LINES = EVERYTHING.splitlines()
VALUES = r"""
0
-1
1e400
nan
VERY_LONG
true
""
" "
"\u0000"
"é"
[]
[1]
[[]]
[{}]
{}
{ a = {} }
{ file = "" }
{ env = "HOME" }
{ percent = [] }
2026-11-22
07:32:00
"mqtts://[::1"
"mqtt://a:0"
"0s"
"1 h"
"99999999999999 h"
"coil:1"
"holding:65535"
465536
"string:250"
"bits:16@0"
"eastron-sdm120"
"."
["voltage_l1", "voltage_l1"]
"tcp://x"
"modbus-tcp"
"/"
""".replace("VERY_LONG", "9" * 400).split("\n")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "password").write_text("s3cret")
    (folder / "good").mkdir()
    return folder / "good" / "gateway.toml"


def with_value(line: int, value: str) -> str:
    key, equals, _ = LINES[line].partition(" = ")
    return "\n".join([*LINES[:line], f"{key} = {value}" if equals else value, *LINES[line + 1 :]])


line_numbers = st.integers(0, len(LINES) - 1)
offsets = st.integers(0, len(EVERYTHING))
mutations = st.one_of(
    st.builds(with_value, line_numbers, st.sampled_from(VALUES)),
    st.builds(lambda at, to: EVERYTHING[:at] + EVERYTHING[to:], offsets, offsets),
    st.builds(lambda at, text: EVERYTHING[:at] + text + EVERYTHING[at:], offsets, st.text(max_size=3)),
    st.builds(lambda at, to: "\n".join([*LINES[:at], LINES[to], *LINES[at:]]), line_numbers, line_numbers),
    st.permutations(LINES).map("\n".join),
)


def answer(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    checked = check_config(str(path), read_secrets=True)
    places = [mistake.place.file for mistake in checked.mistakes]
    assert all(file.startswith((str(path.parent), str(files.SHIPPED_MAPS))) for file in places)
    assert bool(places) == (checked.config is None)
    if checked.config:
        compile_plan(checked.config)


@given(text=mutations)
def test_a_mutated_file_gives_a_configuration_or_mistakes(path: Path, text: str) -> None:
    answer(path, text.encode(errors="surrogatepass"))


@given(first=mutations, second=mutations)
def test_mutated_fragments_give_a_configuration_or_mistakes(path: Path, first: str, second: str) -> None:
    (path.parent / "conf.d").mkdir(exist_ok=True)
    fragment = path.parent / "conf.d" / "mutated.toml"
    fragment.write_bytes(second.encode(errors="surrogatepass"))
    try:
        answer(path, first.encode(errors="surrogatepass"))
    finally:
        fragment.unlink()


@given(content=st.binary(max_size=200))
def test_any_bytes_give_mistakes(path: Path, content: bytes) -> None:
    answer(path, content)
