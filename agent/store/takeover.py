"""The journal of earlier runs in; its batches in the account, and the journal, or a copy that fits, in use, out."""

import logging

from agent.store.account import Account
from agent.store.journal import Journal, fits, new_journal, open_journal
from agent.store.pages import FileKind, Kind, Record
from agent.store.recovery import Stored
from agent.store.survivors import survivors
from agent.store.writer import Writer

log = logging.getLogger(__name__)


def take_over(path: str, writer: Writer, account: Account, now_ns: int) -> None:
    """Open or make the journal at `path` and give it to the writer. OSError: the medium does not let us."""
    journal, survey = open_journal(writer.fs, path, writer.geometry, FileKind.JOURNAL)
    found = survivors(journal, survey)
    journal.samples = found.samples
    account.take_over(found)
    if fits(journal, survey, writer.geometry):
        writer.journal = journal
        account.queue.recovered(found.stored)
    else:
        _move(journal, found.stored, writer, account, now_ns)


def _move(old: Journal, found: list[Stored], writer: Writer, account: Account, now_ns: int) -> None:
    """The configuration asks for another geometry: copy what is pending into a new file, then let it take over."""
    log.warning("%s has another size or page size than configured: moving %d batches", old.path, len(found))
    new = writer.journal = new_journal(writer.fs, old.path + ".new", writer.geometry, FileKind.JOURNAL)
    try:
        for stored in found:
            _copy(old, stored, writer, account, now_ns)
        writer.upkeep(now_ns)
        new.replace(old.path)
    except OSError:
        new.close()
        writer.journal = None
        account.queue.forget_stored()
        raise
    finally:
        old.close()


def _copy(old: Journal, stored: Stored, writer: Writer, account: Account, now_ns: int) -> None:
    try:
        parts = [old.read(place) for place in stored.places]
    except ValueError:
        account.give_up(stored)
        return
    records = [Record(Kind(p.kind), p.seq, p.samples, p.samples, payload) for p, payload in parts]
    places = writer.commit(records, writer.stamp(now_ns)._replace(epoch=stored.key.epoch), now_ns)
    if places is not None:
        account.queue.recovered([stored._replace(places=tuple(places), covered=0)])
    elif not writer.alarm:
        account.lose(stored.key, stored.samples)
