"""The journal of earlier runs, or our own that lost its place, in; one at its path, with all that is pending, out."""

import logging
from collections.abc import Sequence
from itertools import islice

from agent.store.account import Account
from agent.store.journal import Journal, fits, look_into, new_journal, open_journal
from agent.store.pages import FileKind, Kind, Record
from agent.store.recovery import Stored
from agent.store.state import Acknowledged
from agent.store.survivors import Survivors, survivors
from agent.store.writer import COMMIT_BYTES, Writer

log = logging.getLogger(__name__)


def take_over(path: str, writer: Writer, account: Account, now_ns: int) -> None:
    """Open or make the journal at `path` and give it to the writer. OSError: the medium does not let us."""
    journal, survey = open_journal(writer.fs, path, writer.geometry, FileKind.JOURNAL)
    found = survivors(journal, survey)
    journal.samples = found.samples
    if fits(journal, survey, writer.geometry):
        account.take_over(found)
        writer.journal = journal
        account.queue.recovered(found.stored)
    else:
        _resize(journal, found, writer, account, now_ns)


def keep_in_place(journal: Journal, writer: Writer, account: Account, now_ns: int) -> None:
    """Notice that the file in use was deleted, replaced or cut short, and mend it. OSError: impossible now."""
    if not journal.in_place:
        _restore(journal, writer, account, now_ns)
    elif not journal.is_whole:
        journal.mend()
        writer.restored += 1
        log.error("%s was cut short under us: it has its size again, what it held there is lost", journal.path)


def _resize(old: Journal, found: Survivors, writer: Writer, account: Account, now_ns: int) -> None:
    """The configuration asks for another geometry."""
    log.warning("%s has another size or page size than configured: moving %d batches", old.path, len(found.stored))
    # What is acknowledged or reported is not copied, so that nothing need be remembered of it.
    account.take_over(found._replace(acknowledged=Acknowledged(), reported=[]))
    try:
        _move(old, found.stored, writer, account, now_ns)
    except OSError:
        old.close()
        account.queue.forget_stored()
        raise


def _restore(old: Journal, writer: Writer, account: Account, now_ns: int) -> None:
    """Nobody finds our file by its name any more: put another there, with all that is pending."""
    writer.fs.make_directory(old.folder)
    there, survey = look_into(writer.fs, old.path, FileKind.JOURNAL)
    there.close()
    if survey.good:
        raise OSError(f"{old.path} is another journal than it was: restart the agent to take over what it holds")
    if not writer.probe(now_ns):  # not deleted, but gone with its medium, which may come back
        return
    pending = account.detach()
    try:
        _move(old, pending, writer, account, now_ns)
    except OSError:
        account.attach(pending)
        writer.journal = old
        raise
    writer.restored += 1
    log.error("%s was deleted or replaced under us: made anew, with all that is pending", old.path)


def _move(old: Journal, pending: Sequence[Stored], writer: Writer, account: Account, now_ns: int) -> None:
    """Copy what is pending into a new file, then let it take the old one's name. OSError: all is as it was."""
    new = new_journal(writer.fs, old.path + ".new", writer.geometry, FileKind.JOURNAL)
    writer.journal = new
    try:
        _copy(old, pending, writer, account, now_ns)
        writer.upkeep(now_ns)
        _raise_trouble(writer)
        new.replace(old.path)
    except OSError:
        new.discard()
        writer.journal = None
        raise
    old.close()


def _copy(old: Journal, pending: Sequence[Stored], writer: Writer, account: Account, now_ns: int) -> None:
    """In commits of bounded size, so that small batches share pages as they did before."""
    together: list[tuple[Stored, list[Record]]] = []
    size = 0
    for stored in pending:
        records = _records(old, stored, account)
        payload_bytes = sum(len(record.payload) for record in records)
        if together and (together[0][0].key.epoch != stored.key.epoch or size + payload_bytes > COMMIT_BYTES):
            _commit(together, writer, account, now_ns)
            together, size = [], 0
        if records:
            together.append((stored, records))
            size += payload_bytes
    if together:
        _commit(together, writer, account, now_ns)


def _records(old: Journal, stored: Stored, account: Account) -> list[Record]:
    """None, and a counted loss, where it is damaged."""
    try:
        parts = [old.read(place) for place in stored.places]
    except ValueError:
        account.give_up(stored)
        return []
    return [Record(Kind(p.kind), p.seq, p.samples, p.samples, payload) for p, payload in parts]


def _commit(together: list[tuple[Stored, list[Record]]], writer: Writer, account: Account, now_ns: int) -> None:
    """Batches of one epoch; where there is no room for all, as many as there is."""
    stamp = writer.stamp(now_ns)._replace(epoch=together[0][0].key.epoch)
    places = writer.commit([record for _, records in together for record in records], stamp, now_ns)
    if places is not None:
        left = iter(places)
        for stored, records in together:
            account.relocated(stored._replace(places=tuple(islice(left, len(records))), covered=0))
        return
    _raise_trouble(writer)
    if len(together) > 1:
        for one in together:
            _commit([one], writer, account, now_ns)
    else:
        account.lose(together[0][0].key, together[0][0].samples)


def _raise_trouble(writer: Writer) -> None:
    if writer.alarm:
        raise OSError(writer.alarm)
