"""Schemas outlive the run that made them, so that an old backlog stays readable after the configuration changed."""

import contextlib
import errno

import pytest

from agent.model import NS_PER_S
from agent.store.schemas import SCHEMA_BYTES
from agent.store.writer import RETRY_NS

S = NS_PER_S


def name(number):
    return b"hash%04d" % number


def test_schemas_of_earlier_runs_are_there_beside_those_of_this_one(kit, fs):
    for run in range(1, 4):
        store = kit.open_store(fs, run)
        store.put_schemas({name(run): b"schema %d" % run})
        store.tick(S)
        fs = fs.after_kill()
    assert kit.open_store(fs, 4).schemas() == {name(run): b"schema %d" % run for run in range(1, 4)}


def test_nothing_is_written_when_nothing_is_new(kit, fs):
    store = kit.open_store(fs)
    store.put_schemas({name(1): b"schema" * 5000})
    store.tick(S)
    written = store.stats().upkeep_bytes
    for _ in range(5):
        store.put_schemas({name(1): b"schema" * 5000})
        store.tick(S)
    assert store.stats().upkeep_bytes == written
    fs = fs.after_kill()
    again = kit.open_store(fs, 2)
    again.put_schemas({name(1): b"schema" * 5000})
    before = again.stats().upkeep_bytes
    again.tick(S)
    assert again.stats().upkeep_bytes == before


def test_the_file_is_bounded_and_keeps_what_this_run_uses(kit, fs):
    store = kit.open_store(fs)
    store.put_schemas({name(0): b"in use" * 2000})
    store.tick(S)
    for run in range(2, 250):  # 250 changes of the configuration, 3 MB of schemas
        fs = fs.after_kill()
        store = kit.open_store(fs, run)
        assert store.schemas()[name(0)] == b"in use" * 2000
        store.put_schemas({name(0): b"in use" * 2000, name(run): b"%04d" % run * 3000})
        store.tick(S)
    assert len(fs.files["/store/schemas"]) == SCHEMA_BYTES
    schemas = kit.open_store(fs.after_kill(), 999).schemas()
    assert schemas[name(0)] == b"in use" * 2000
    assert schemas[name(249)] == b"0249" * 3000
    assert name(2) not in schemas
    assert 60 < len(schemas) < 90


@pytest.mark.parametrize("cut_after", range(1, 4))
def test_a_power_cut_while_a_schema_is_written_costs_no_older_one(kit, fs, cut_after):
    store = kit.open_store(fs)
    store.put_schemas({name(1): b"schema" * 5000})
    store.tick(S)
    store.put_schemas({name(2): b"other" * 5000})
    fs.cut_at = fs.operations + cut_after
    with contextlib.suppress(kit.PowerCutError):
        store.tick(2 * S)
    for seed in range(20):
        again = kit.open_store(fs.after_power_cut(seed), 2)
        assert again.schemas()[name(1)] == b"schema" * 5000
        assert again.schemas().get(name(2), b"other" * 5000) == b"other" * 5000


def test_damage_costs_only_the_schema_on_it(kit, fs):
    store = kit.open_store(fs)
    for number in range(5):
        store.put_schemas({name(number): b"schema %d" % number * 600})
        store.tick(S)
    fs = fs.after_kill()
    fs.files["/store/schemas"][2 * 2 * 4096 + 100] ^= 1  # each takes two pages, from page 1 on
    left = kit.open_store(fs, 2).schemas()
    assert len(left) == 4
    assert all(payload == b"schema %d" % int(key[4:]) * 600 for key, payload in left.items())


def test_schemas_too_large_for_the_file_stay_in_memory(kit, fs):
    store = kit.open_store(fs)
    store.put_schemas({name(1): bytes(2 * SCHEMA_BYTES), name(2): b"small"})
    store.tick(S)
    store.tick(2 * S)
    assert len(store.schemas()) == 2
    assert store.stats().alarm == ""
    assert kit.open_store(fs.after_kill(), 2).schemas() == {name(2): b"small"}


def test_schemas_too_large_for_the_file_are_told_once(kit, fs, caplog):
    store = kit.open_store(fs)
    store.put_schemas({name(1): bytes(2 * SCHEMA_BYTES)})
    for second in range(5):
        store.tick(second * S)
    assert caplog.text.count("do not fit") == 1


def test_a_failing_medium_is_tried_again(kit, fs):
    store = kit.open_store(fs)
    store.put_schemas({name(1): b"schema"})
    fs.fail(errno.EIO, "write")
    store.tick(S)
    assert "injected" in store.stats().alarm
    fs.work()
    store.tick(2 * S)
    assert kit.open_store(fs.after_kill(), 2).schemas() == {}, "not hammered"
    store.tick(S + RETRY_NS)
    assert store.stats().alarm == ""
    assert kit.open_store(fs.after_kill(), 2).schemas() == {name(1): b"schema"}


def test_another_page_size_keeps_the_schemas(kit, fs):
    store = kit.open_store(fs)
    store.put_schemas({name(1): b"schema" * 3000, name(2): b"other"})
    store.tick(S)
    for page_bytes in (8192, 16384, 4096):
        fs = fs.after_kill()
        store = kit.open_store(fs, 2, page_bytes=page_bytes)
        assert store.schemas() == {name(1): b"schema" * 3000, name(2): b"other"}
        store.tick(S)
