"""A scanned journal in; what earlier runs left in it, and what they lost, out."""

import logging
from typing import NamedTuple

from agent.errors import FormatError
from agent.model import Gap
from agent.store.journal import Journal, Survey
from agent.store.pages import FIRST, Kind, Place
from agent.store.recovery import Recovery, Stored
from agent.store.state import Acknowledged, Range, State, decode_state

log = logging.getLogger(__name__)


class Survivors(NamedTuple):
    """What a journal holds for the run that opens it."""

    stored: list[Stored]  # not acknowledged, oldest first
    acknowledged: Acknowledged
    gaps: list[Gap]  # not known to have reached the receiver: of earlier runs, new damage, an unclean stop
    reported: list[tuple[int, int]]  # pages whose loss is among these gaps, or was told before
    damaged_pages: int
    samples: int  # fresh samples in all records so far


def survivors(journal: Journal, survey: Survey) -> Survivors:
    """Read the journal from the first place that is needed."""
    wrote, state = _newest_state(journal, survey)
    recovery = Recovery(wrote, state)
    first = state.needed.sequence if state else survey.tail
    for head, pieces in journal.good_pages(sequence for sequence in survey.slots if sequence >= first):
        recovery.page(head, pieces)
    stored = recovery.finish()
    state = state or State()
    acknowledged = Acknowledged()
    for span in state.acknowledged:
        acknowledged.add(span, journal.sequence)
    stored = [one for one in stored if not acknowledged.holds(Range.of(one.key))]
    damage = [
        hole
        for hole in recovery.holes
        if hole.pages not in state.reported and not acknowledged.holds(Range(hole.epoch, hole.first_seq, hole.last_seq))
    ]
    gaps = [*state.gaps, *(hole.gap() for hole in damage)]
    if recovery.epoch and not (state.clean and wrote == recovery.epoch):
        gaps.append(_restart_gap(recovery, state if wrote == recovery.epoch else State(), stored))
    known = {hole.pages for hole in recovery.holes}
    reported = [pages for pages in state.reported if pages in known] + [hole.pages for hole in damage]
    return Survivors(stored, acknowledged, gaps, reported, recovery.damaged_pages, recovery.samples or 0)


def _restart_gap(recovery: Recovery, state: State, stored: list[Stored]) -> Gap:
    """The newest epoch did not end well: whatever followed the last batch known of it is lost."""
    seqs = [one.key.seq + 1 for one in stored if one.key.epoch == recovery.epoch]
    seq = max([recovery.next_seq, state.next_seq, *seqs])
    return Gap(recovery.epoch, seq, seq - 1, 0, "restart")


def _newest_state(journal: Journal, survey: Survey) -> tuple[bytes, State | None]:
    """The last state record that is intact, and the epoch that wrote it."""
    for head, pieces in journal.good_pages(reversed(survey.slots)):
        for piece in reversed(pieces):
            if piece.kind == Kind.STATE and piece.flags & FIRST:
                try:
                    return head.epoch, decode_state(journal.read(Place(piece.sequence, piece.at, 0))[1])
                except (ValueError, OSError, FormatError) as error:
                    log.warning("the state on page %d is damaged: %s", piece.sequence, error)
    return b"", None
