"""Pages of the store: what goes in comes out, and nothing that was damaged does."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent._native import page

EPOCH = b"epoch001"
HEAD = struct.Struct("=8sQQQqqIHBBi4x")
PIECE = struct.Struct("=QQIIIIIHBB")
GOOD, BLANK, FOREIGN, NEWER, RESIZED, DAMAGED = 0, -1, -2, -3, -4, -5

# RFC 3720 appendix B.4 gives the bytes of the CRC in the order they are sent; as a number they read backwards.
RFC_3720 = {
    "32 bytes of zeros": (bytes(32), 0x8A9136AA),
    "32 bytes of ones": (b"\xff" * 32, 0x62A8AB43),
    "32 bytes counting up": (bytes(range(32)), 0x46DD794E),
    "32 bytes counting down": (bytes(range(31, -1, -1)), 0x113FDB5C),
    "an iSCSI read command": (
        bytes.fromhex(
            "01c00000000000000000000000000000 14000000000004000000001400000018 28000000000000000200000000000000"
        ),
        0xD9963A56,
    ),
    "the check value": (b"123456789", 0xE3069283),
    "nothing": (b"", 0),
}


def packer(page_bytes=4096, sequence=1, samples_before=0):
    return page.Packer(page_bytes, 1, EPOCH, sequence, 1, samples_before, 11, 22)


def heads(sealed, page_bytes=4096):
    return list(HEAD.iter_unpack(page.scan(sealed, page_bytes)))


def status(one):
    return heads(one, len(one))[0][-1]


def one_page():
    pack = packer()
    pack.add(1, 7, 50, 50, b"payload" * 100)
    return pack.finish()[0]


@pytest.mark.parametrize("crc", [page.crc32c, page.crc32c_portable])
@pytest.mark.parametrize("name", RFC_3720)
def test_crc32c_is_that_of_rfc_3720(crc, name):
    data, expected = RFC_3720[name]
    assert crc(data) == expected


@given(data=st.binary(max_size=300), start=st.integers(0, 8))
def test_instruction_and_tables_agree_at_every_length_and_alignment(data, start):
    assert page.crc32c(memoryview(data)[start:]) == page.crc32c_portable(memoryview(data)[start:])


@settings(max_examples=150)
@given(
    page_bytes=st.sampled_from(page.PAGE_SIZES),
    sizes=st.lists(st.one_of(st.integers(0, 200), st.integers(3900, 4200), st.integers(0, 60_000)), max_size=8),
)
def test_records_of_any_size_come_back_from_their_place(page_bytes, sizes):
    pack = packer(page_bytes, sequence=5)
    records = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
    places = [pack.add(2, 100 + i, i, i, record) for i, record in enumerate(records)]
    sealed, next_sequence, next_samples = pack.finish()
    found = heads(sealed, page_bytes)
    assert [head[1] for head in found] == list(range(5, next_sequence))
    assert all(head[-1] == GOOD for head in found)
    assert next_samples == sum(range(len(records)))
    for i, ((sequence, at), record) in enumerate(zip(places, records, strict=True)):
        start = (sequence - 5) * page_bytes
        first = next(p for p in PIECE.iter_unpack(page.pieces(sealed[start : start + page_bytes])) if p[6] == at)
        assert first[:6] == (sequence, 100 + i, len(record), 0, i, i)
        pages = 1 if first[7] == len(record) else 1 + -(-(len(record) - first[7]) // (page_bytes - page.PAGE_OVERHEAD))
        assert page.join(sealed[start : start + pages * page_bytes], page_bytes, at, len(record)) == record


def test_header_carries_what_recovery_needs():
    sealed = one_page()
    assert heads(sealed)[0] == (EPOCH, 1, 1, 0, 11, 22, 64 + 28 + 700, 1, 1, 12, GOOD)


def test_samples_before_counts_a_record_on_the_page_where_it_begins():
    pack = packer(samples_before=1000)
    pack.add(1, 0, 10, 10, bytes(3000))
    pack.add(1, 1, 20, 15, bytes(9000))
    pack.add(1, 2, 40, 40, bytes(10))
    sealed, _, after = pack.finish()
    assert [head[3] for head in heads(sealed)] == [1000, 1025, 1025, 1025]
    assert after == 1065


def test_first_byte_layout_is_little_endian_on_every_host():
    sealed = one_page()
    assert sealed[:8] == b"FTpg\x01\x01\x0c\x00"
    assert sealed[8:16] == EPOCH
    assert sealed[16:24] == (1).to_bytes(8, "little")
    assert sealed[56:60] == (64 + 28 + 700).to_bytes(4, "little")
    assert sealed[64:68] == bytes([1, 3]) + (700).to_bytes(2, "little")
    assert sealed[-4:] == page.crc32c(sealed[:-4]).to_bytes(4, "little")


@settings(max_examples=400)
@given(bit=st.integers(0, 4096 * 8 - 1))
def test_any_flipped_bit_spoils_the_page(bit):
    sealed = bytearray(one_page())
    sealed[bit // 8] ^= 1 << bit % 8
    assert status(sealed) < GOOD


def test_every_kind_of_bad_page_is_told_apart():
    sealed = one_page()
    assert status(bytes(4096)) == BLANK
    assert status(b"\x01" + bytes(4095)) == FOREIGN
    assert status(bytes(4095) + b"\x01") == FOREIGN
    assert status(sealed[:4] + b"\x02" + sealed[5:]) == NEWER
    assert status(sealed + bytes(4096)) == RESIZED
    assert status(sealed[:6] + b"\x1f" + sealed[7:]) == DAMAGED
    assert status(sealed[:2048] + bytes(2048)) == DAMAGED


def resealed(sealed, at, replacement):
    """The page with other bytes at `at` and a CRC that fits: written so on purpose, or by a bug."""
    body = sealed[:at] + replacement + sealed[at + len(replacement) : -4]
    return body + page.crc32c(body).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("at", "replacement"),
    [(56, b"\xff\xff\xff\xff"), (56, b"\x00\x00\x00\x00"), (60, b"\xff\xff"), (60, b"\x00\x00"), (66, b"\xff\xff")],
    ids=["used too large", "used zero", "too many pieces", "too few pieces", "piece too long"],
)
def test_counts_that_do_not_fit_the_page_are_damage_even_under_a_right_crc(at, replacement):
    assert status(resealed(one_page(), at, replacement)) == DAMAGED


@settings(max_examples=300)
@given(at=st.integers(0, 200), replacement=st.binary(min_size=1, max_size=40), place=st.integers(0, 5000))
def test_hostile_pages_with_a_right_crc_never_read_outside(at, replacement, place):
    sealed = resealed(one_page(), at, replacement)
    for read in (lambda: page.pieces(sealed), lambda: page.join(sealed, 4096, place, 700)):
        try:
            read()
        except ValueError:
            continue


def two_page_record():
    pack = packer()
    _, at = pack.add(1, 7, 50, 50, bytes(range(250)) * 24)
    return pack.finish()[0], at


def test_join_refuses_a_page_out_of_order_missing_or_of_another_record():
    sealed, at = two_page_record()
    first, second = sealed[:4096], sealed[4096:]
    other = packer(sequence=2)
    other.add(1, 8, 50, 50, bytes(range(250)) * 24)
    assert len(page.join(sealed, 4096, at, 6000)) == 6000
    for pages in (second + first, first, first + first, first + other.finish()[0][:4096], first + bytes(4096)):
        with pytest.raises(ValueError, match=r"do not hold this record|cannot hold a record"):
            page.join(pages, 4096, at, 6000)


@pytest.mark.parametrize(("at", "total"), [(63, 6000), (0, 6000), (5000, 6000), (64, 5999), (64, 6001)])
def test_join_refuses_a_place_or_length_that_is_not_the_records(at, total):
    sealed, _ = two_page_record()
    with pytest.raises(ValueError, match="do not hold this record"):
        page.join(sealed, 4096, at, total)


def test_join_refuses_more_bytes_than_the_pages_have():
    with pytest.raises(ValueError, match="cannot hold a record of 9999"):
        page.join(one_page(), 4096, 64, 9999)


def test_pieces_of_a_bad_page_are_refused():
    with pytest.raises(ValueError, match="not a good page"):
        page.pieces(bytes(4096))


@pytest.mark.parametrize("page_bytes", [0, 4095, 2048, 32768, -4096])
def test_only_4_8_and_16_kib_are_page_sizes(page_bytes):
    with pytest.raises(ValueError, match="a page has 4096, 8192, 16384 bytes"):
        page.Packer(page_bytes, 1, EPOCH, 1, 1, 0, 0, 0)


def test_an_epoch_has_8_bytes():
    with pytest.raises(ValueError, match="an epoch is 8 bytes, not 3"):
        page.Packer(4096, 1, b"abc", 1, 1, 0, 0, 0)


def test_packing_nothing_gives_no_page():
    assert packer().finish() == (b"", 1, 0)
