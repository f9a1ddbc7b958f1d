"""The scanner against tomllib: it finds every key and value that tomllib finds, where the text has it."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.positions import Path, Position, scan

CASES = {
    "pair": ("a = 1", {("a",): (1, 1, 1, 5)}),
    "indented": ("\n\n  a  =   'x'", {("a",): (3, 3, 3, 10)}),
    "dotted": ("a . b=1", {("a",): (1, 1, 1, 1), ("a", "b"): (1, 5, 1, 7)}),
    "quoted key": ('"a.b" = 1', {("a.b",): (1, 1, 1, 9)}),
    "escaped key": (r'"a\"\u00e9" = 1', {('a"é',): (1, 1, 1, 15)}),
    "literal key": ("'a\\b' = 1", {("a\\b",): (1, 1, 1, 9)}),
    "table": ("[a]\nb = 1", {("a",): (1, 1, 1, 1), ("a", "b"): (2, 1, 2, 5)}),
    "table given later": (
        "[a.b]\nc = 1\n[a]",
        {("a",): (3, 1, 3, 1), ("a", "b"): (1, 1, 1, 1), ("a", "b", "c"): (2, 1, 2, 5)},
    ),
    "spaced header": ("[ a . 'b' ]", {("a",): (1, 1, 1, 1), ("a", "b"): (1, 1, 1, 1)}),
    "comment with brackets": ("a = 1 # ] } ,\n# [x]\nb = 2", {("a",): (1, 1, 1, 5), ("b",): (3, 1, 3, 5)}),
    "array": (
        "a = [ 1,\n '#', [2], ]",
        {
            ("a",): (1, 1, 1, 5),
            ("a", 0): (1, 7, 1, 7),
            ("a", 1): (2, 2, 2, 2),
            ("a", 2): (2, 7, 2, 7),
            ("a", 2, 0): (2, 8, 2, 8),
        },
    ),
    "inline table": (
        "a = { b = 1, c.d = '}' }",
        {
            ("a",): (1, 1, 1, 5),
            ("a", "b"): (1, 7, 1, 11),
            ("a", "c"): (1, 14, 1, 14),
            ("a", "c", "d"): (1, 16, 1, 20),
        },
    ),
    "array of tables": (
        "[[a]]\nb = 1\n[[a]]\nb = 2",
        {
            ("a",): (1, 1, 1, 1),
            ("a", 0): (1, 1, 1, 1),
            ("a", 0, "b"): (2, 1, 2, 5),
            ("a", 1): (3, 1, 3, 1),
            ("a", 1, "b"): (4, 1, 4, 5),
        },
    ),
    "table in the newest of an array": (
        "[[a]]\n[[a]]\n[a.b]\n[[a.c]]",
        {
            ("a",): (1, 1, 1, 1),
            ("a", 0): (1, 1, 1, 1),
            ("a", 1): (2, 1, 2, 1),
            ("a", 1, "b"): (3, 1, 3, 1),
            ("a", 1, "c"): (4, 1, 4, 1),
            ("a", 1, "c", 0): (4, 1, 4, 1),
        },
    ),
    "multi-line text": ('a = """x\n"" \\""" y""""\nb = 1', {("a",): (1, 1, 1, 5), ("b",): (3, 1, 3, 5)}),
    "multi-line literal": ("a = '''x\n'' # '''''\nb = 1", {("a",): (1, 1, 1, 5), ("b",): (3, 1, 3, 5)}),
    "date with a space": ("a = 2026-11-22 03:00:00\nb = 1", {("a",): (1, 1, 1, 5), ("b",): (2, 1, 2, 5)}),
}


@pytest.mark.parametrize(("text", "places"), CASES.values(), ids=CASES.keys())
def test_keys_and_values_are_where_the_text_has_them(text: str, places: dict[Path, tuple[int, ...]]) -> None:
    assert scan(text) == {path: Position(*place) for path, place in places.items()}
    assert set(scan(text)) == set(paths_of(tomllib.loads(text)))


def paths_of(value: object, path: Path = ()) -> list[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, child in items for found in ((*path, key), *paths_of(child, (*path, key)))]


words = st.text(st.sampled_from("ab\"'\\#=[]{},. é\n"), max_size=6)
keys = words.map(json.dumps) | st.sampled_from(["a", "b-1", "'q'", "a.b", "a . 'x'"])
scalars = st.one_of(
    st.integers(-99, 99).map(str),
    st.sampled_from(["true", "1.5e3", "inf", "2026-11-22", "07:32:00.5", "2026-11-22 07:32:00", "0x1F"]),
    words.map(json.dumps),
    words.filter(lambda word: not set("'\n") & set(word)).map(lambda word: f"'{word}'"),
    words.filter(lambda word: not set('"\\') & set(word)).map(lambda word: f'"""{word}"""'),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ " + " ,\n# ]\n".join(items) + "\n]")
        | st.lists(st.tuples(keys, inner), max_size=3).map(
            lambda pairs: "{ " + ", ".join(f"{k} = {v}" for k, v in pairs) + " }"
        )
    ),
    max_leaves=6,
)
lines = st.one_of(
    st.tuples(keys, values).map(" = ".join),
    keys.map(lambda key: f"[{key}]"),
    keys.map(lambda key: f"  [[ {key} ]] # x"),
    st.just("# comment [ { '"),
)


@given(st.lists(lines, max_size=8).map("\n".join))
def test_the_scanner_finds_what_tomllib_finds(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(scan(text)) == set(paths_of(document))
