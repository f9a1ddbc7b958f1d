"""fieldtap store: looks into a store without changing it."""

import json
import os

import pytest

from agent._native.samples import Samples
from agent.batch import Encoder
from agent.batch.record import RECORD
from agent.cli import main
from agent.model import NS_PER_S, Group, Tag, ValueType, WallClock

S = NS_PER_S


@pytest.fixture
def directory(kit, tmp_path):
    """Four pending batches, one of which is two fragments, and a schema, left by an agent that was killed."""
    path = tmp_path / "store"
    store = kit.open_real(path)
    store.put_schemas({b"hash0001": b"schema"})
    for seq in range(3):
        kit.put(store, 1, seq, [seq, seq], size=3500)
    store.tick(3 * S)
    for at_s in range(2):
        store.checkpoint(kit.message(1, 3, [at_s]), at_s * S)
    store.tick(6 * S)
    yield path
    store.close(7 * S)


def document(capsys, *words):
    code = main(["store", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_inspect_counts_what_is_pending_while_the_agent_runs(kit, directory, capsys):
    before = (directory / "journal").read_bytes()
    code, found = document(capsys, "inspect", directory)
    assert code == 0
    assert found["pending_batches"] == 4
    assert found["pending_samples"] == 8
    assert found["epochs"] == {kit.epoch(1).hex(): {"batches": 4, "samples": 8, "first_seq": 0, "last_seq": 3}}
    assert found["journal_bytes"] == 1 << 20
    assert found["schemas"] == [b"hash0001".hex()]
    assert found["gaps"] == [
        {"epoch": kit.epoch(1).hex(), "first_seq": 4, "last_seq": 3, "samples": 0, "reason": "restart"}
    ]
    assert (directory / "journal").read_bytes() == before


def test_inspect_prints_lines_for_people(directory, capsys):
    assert main(["store", "inspect", str(directory)]) == 0
    out = capsys.readouterr().out
    assert "pending_batches  4" in out
    assert "first_seq 0, last_seq 3" in out
    assert "reason restart" in out
    assert f"schemas          {b'hash0001'.hex()}\n" in out
    assert "pages            good " in out


def test_verify_reads_every_batch_and_fails_on_damage(directory, capsys):
    code, found = document(capsys, "verify", directory)
    assert (code, found["batches_read"], found["damaged_pages"]) == (0, 4, 0)
    with (directory / "journal").open("r+b") as journal:
        journal.seek(2 * 4096 + 1000)
        journal.write(b"!")
    code, found = document(capsys, "verify", directory)
    assert code == 1
    assert found["damaged_pages"] == 1
    assert found["pages"]["damaged"] == 1


def test_a_journal_without_a_single_page_of_ours_is_not_intact(directory, capsys):
    (directory / "journal").write_bytes(b"\xa5" * (1 << 20))
    code, found = document(capsys, "verify", directory)
    assert (code, found["pages"].keys()) == (1, {"foreign"})


TAGS = [Tag(0, "b/d/t", ValueType.U16)]


@pytest.fixture
def written(kit, tmp_path):
    """A live store with two batches, the newer one in fragments, as the agent encodes them; and how."""
    encoder = Encoder("gw", kit.epoch(1), TAGS, [Group(0, "b/d", (0,))], "columns", 100_000)
    path = tmp_path / "store"
    store = kit.open_real(path)
    store.put_schemas(encoder.schemas())

    def message(seq, *values):
        records = Samples(b"".join(RECORD.pack(value * S, value, 0, 0, ValueType.U16, 0, 0, 0) for value in values))
        return encoder.encode(records, first_seq=seq, clock=WallClock(0, 2, 1), with_schemas=False)[0]

    store.put(message(0, 1, 2), 0, 0)
    for value in (3, 4, 5):
        store.checkpoint(message(1, value), value * S)
        store.tick(value * S)
    yield path
    store.close(9 * S)


def test_export_of_a_live_store_writes_one_message_for_each_key(kit, written, tmp_path, capsys):
    out = tmp_path / "out"
    code, found = document(capsys, "export", written, "--to", out)
    assert code == 0
    files = sorted(out.iterdir())
    assert sorted(found["files"]) == [str(path) for path in files]
    epoch = kit.epoch(1).hex()
    assert [path.name for path in files[:2]] == [f"batch-{epoch}-{seq:010}.msgpack" for seq in range(2)]
    assert files[2].name.startswith("schema-")
    assert main(["decode", *map(str, files)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["seq"], line["v"]) for line in lines] == [(0, 1), (0, 2), (1, 3), (1, 4), (1, 5)]
    assert all(line["historical"] for line in lines)


def test_export_leaves_fragments_as_they_are_when_their_schema_is_lost(kit, written, tmp_path, capsys):
    (written / "schemas").unlink()
    assert main(["store", "export", str(written), "--to", str(tmp_path / "out")]) == 1
    epoch = kit.epoch(1).hex()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"batch-{epoch}-0000000000.msgpack",
        *(f"batch-{epoch}-0000000001-{number:04}.msgpack" for number in range(3)),
    ]
    assert f"batch {epoch}/1 is left as it is stored" in capsys.readouterr().err


def test_a_store_that_this_user_may_not_read_is_a_matter_of_permission(directory, capsys, monkeypatch):
    def refuse(path, *_):  # root may read everything, so the system's answer is played
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    assert main(["store", "inspect", str(directory)]) == 77
    assert f"{directory}/journal: Permission denied; run as a user who may" in capsys.readouterr().err


def test_a_directory_without_a_store_is_an_io_error(tmp_path, capsys):
    assert main(["store", "inspect", str(tmp_path)]) == 74
    assert "has no journal that can be read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
