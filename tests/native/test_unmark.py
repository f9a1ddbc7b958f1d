"""Marks of damaged characters, as a terminal with PARMRK writes them, taken out again at any chunking."""

from hypothesis import given
from hypothesis import strategies as st

from agent._native.parts import Unmarker

# A character and whether it came damaged: biased to what marks are made of.
CHARACTERS = st.lists(st.tuples(st.sampled_from([0, 1, 0x7F, 0xFE, 0xFF]) | st.integers(0, 255), st.booleans()))


def marked(characters: list[tuple[int, bool]]) -> bytes:
    """What termios(3) says that a terminal makes of them."""
    return b"".join(
        b"\xff\x00" + bytes([value]) if damaged else b"\xff\xff" if value == 0xFF else bytes([value])
        for value, damaged in characters
    )


@given(CHARACTERS, st.lists(st.integers(0, 5)))
def test_characters_come_out_as_they_went_in_at_any_chunking(
    characters: list[tuple[int, bool]], cuts: list[int]
) -> None:
    left, unmarker, out = marked(characters), Unmarker(), b""
    for cut in cuts:
        out += unmarker.feed(left[:cut])
        left = left[cut:]
    out += unmarker.feed(left)
    assert out == bytes(value for value, _ in characters)
    damaged = [value for value, is_damaged in characters if is_damaged]
    assert unmarker.marks() == (len(characters), len(damaged), damaged.count(0))


@given(st.lists(st.binary()))
def test_bytes_that_were_never_marked_only_get_fewer(chunks: list[bytes]) -> None:
    unmarker = Unmarker()
    assert all(len(unmarker.feed(chunk)) <= len(chunk) for chunk in chunks)


def test_a_mark_may_be_cut_at_every_byte() -> None:
    unmarker = Unmarker()
    assert [unmarker.feed(bytes([byte])) for byte in b"\x01\xff\x00\x02\xff\xff\xff\x00\x00"] == [
        b"\x01", b"", b"", b"\x02", b"", b"\xff", b"", b"", b"\x00",
    ]  # fmt: skip
    assert unmarker.marks() == (4, 2, 1)
