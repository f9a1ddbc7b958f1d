"""What became of a device's reads in, questions about it and the reads that respect what it cannot do, out; pure.

A device that refuses a read (exception 2: no such register, 3: not so many) may refuse it for good: a register is
missing, two areas cannot be read at once, or it is too much. Its parts are asked for until the least one that is
refused is known (agent/acquire/search.py). What that tells is kept to from then on, as long as nothing speaks against
it (agent/acquire/beliefs.py):

    one tag             the device does not have it: it is asked for alone, and seldom
    two neighbours      what lies between them cannot be read through
    three and more      it was too much: reads are no longer than the longest part that was answered

Refusals pass, too: of a device that starts up, or is disturbed. A read that was answered before can be answered, so
its refusals have to last before they are looked into; and one that refuses everything teaches nothing.

Silence tells the last of a long read, while others are answered. Any other failure passes, and tells nothing.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress

from agent.acquire.beliefs import Belief, beginning, defies, recalled, together
from agent.acquire.limits import BIT_TABLES, NOTHING, Learned, either
from agent.acquire.merge import Block
from agent.acquire.outcomes import Outcome
from agent.acquire.pdu import Ask
from agent.acquire.search import REFUSALS, SILENT_TIMES, Search, refuses
from agent.acquire.wire import data_bytes
from agent.errors import BusError, DeviceError, FieldtapError, NotSentError
from agent.model import NS_PER_S, Quality

LASTING_TIMES = 10  # refusals in a row of a read that was answered before: the device may be another one now
SHORT_BYTES = 32  # an answer with no more data than that is too long for no device
REST_NS = 1 * NS_PER_S  # before the next search after one that found nothing; twice as long each time ...
LONGEST_REST_NS = 300 * NS_PER_S  # ... up to this: a device that refuses all it is asked for is asked no more than that
RETRY_NS = 30 * NS_PER_S  # after a question whether something is still so that got no answer

Asking = Generator[Ask, bytes, bool]


def tags_of(block: Block) -> frozenset[int]:
    """The numbers of the tags that a read fetches; no other read of the device has the same."""
    return frozenset(item.number for item in block.wanted)


class Learner:
    """What one device can do, as its answers tell. `reads` are to be run, `learned` is to be remembered."""

    def __init__(
        self, unit: int, reads: Sequence[Block], learned: Learned, replan: Callable[[Learned], Sequence[Block]]
    ) -> None:
        self.reads = tuple(reads)
        self.wanted = frozenset(item for block in reads for item in block.wanted)
        self.learned = learned
        self._unit = unit
        self._replan = replan
        self._beliefs = recalled(learned)
        self._search: Search | None = None
        self._is_pending = False  # there is something to be asked for the search
        self._is_asking = False
        self._failed: dict[frozenset[int], int] = {}  # how often in a row
        self._proven: set[frozenset[int]] = set()  # reads that were answered
        self._longest = {True: 0, False: 0}  # of them, in bits and in registers
        self._is_alive = False  # something was answered since the last silence
        self._given_up: set[frozenset[int]] = set()  # silent reads that taught nothing
        self._rest_ns, self._rested_ns = REST_NS, 0

    def watched(self) -> set[int]:
        """Tags of which a success matters too: of all reads while one fails, else of those that never had one."""
        return {
            item.number
            for block in self.reads
            if self._failed or tags_of(block) not in self._proven or self._is_missing(block)
            for item in block.wanted
        }

    def observe(self, outcome: Outcome) -> bool:
        """Learn from one read; True when `reads` are others now."""
        block = next((block for block in self.reads if tags_of(block) == outcome.tags), None)
        if block is None:
            return False
        if outcome.quality is not Quality.COMM_FAIL:
            self._is_alive = True
        if outcome.is_answered:
            self._failed.pop(outcome.tags, None)
            self._proven.add(outcome.tags)
            if self._search and not self._is_asking and tags_of(self._search.block) == outcome.tags:
                self._search = None
            return self._end_all(block)
        if outcome.time_ns >= self._rested_ns and not self._is_missing(block) and self._lasts(block, outcome):
            self._look_into(block, is_silent=outcome.quality is Quality.COMM_FAIL)
        return False

    def asks(self, now_ns: int) -> Asking | None:
        """What is to be asked of the device now, one by one; it returns whether `reads` are others then."""
        if self._is_asking:
            return None
        if self._search and self._is_pending:
            return self._searching(self._search, now_ns)
        for belief in self._beliefs:
            if belief.due_ns is None:
                belief.set_due(now_ns)
            elif belief.due_ns <= now_ns:
                return self._doubting(belief, now_ns)
        return None

    # --- polls ---

    def _lasts(self, block: Block, outcome: Outcome) -> bool:
        """Whether a read has failed often enough, in a way that tells something."""
        tags = outcome.tags
        if outcome.quality is Quality.EXCEPTION and outcome.code in REFUSALS:
            enough = LASTING_TIMES if tags in self._proven else 1
        elif outcome.quality is Quality.COMM_FAIL and is_long(block) and tags not in self._given_up:
            enough = SILENT_TIMES
            if tags in self._failed and not self._is_alive and len(self.reads) > 1:
                return False  # the device is silent as a whole
            self._is_alive = False
        else:
            return False
        self._failed[tags] = self._failed.get(tags, 0) + 1
        return self._failed[tags] >= enough

    def _look_into(self, block: Block, *, is_silent: bool) -> None:
        others = sorted((other for other in self.reads if other != block), key=lambda other: other.quantity)
        is_bits = block.table in BIT_TABLES
        if tags_of(block) in self._proven:  # it may be another device now
            self._longest[is_bits] = 0
        if self._search is None or tags_of(self._search.block) != tags_of(block):
            self._search = Search(self._unit, block, others[:1], is_silent=is_silent, elsewhere=self._longest[is_bits])
        self._is_pending = True

    def _is_missing(self, block: Block) -> bool:
        return any(belief.fact.missing and defies(block, belief.fact) for belief in self._beliefs)

    # --- questions ---

    def _searching(self, search: Search, now_ns: int) -> Asking:
        self._is_asking, self._is_pending = True, False
        fact: Learned | None = NOTHING
        with suppress(FieldtapError):
            fact = yield from search.go_on()
            if fact == NOTHING and search.is_silent:
                self._given_up.add(tags_of(search.block))
        self._is_asking = False
        if fact is None:
            return False
        self._search = None
        self._failed.clear()
        return self._believe(fact, now_ns)

    def _believe(self, fact: Learned, now_ns: int) -> bool:
        if either(self.learned, fact) == self.learned:
            self._rested_ns = now_ns + self._rest_ns
            self._rest_ns = min(2 * self._rest_ns, LONGEST_REST_NS)
            return False
        self._rest_ns = REST_NS
        self._beliefs.append(Belief(fact))
        self._beliefs[-1].set_due(now_ns)
        return self._run()

    def _doubting(self, belief: Belief, now_ns: int) -> Asking:
        """Ask for what the device is believed to refuse, where there would be any use in it."""
        self._is_asking = True
        trial = self._trial(belief)
        try:
            if trial and not (yield from refuses(self._unit, trial)):
                return self._end_all(trial)
        except (DeviceError, NotSentError):
            belief.due_ns = now_ns + RETRY_NS
            return False
        except BusError:  # no answer, as to what is too long
            pass
        finally:
            self._is_asking = False
        belief.stand(now_ns)
        return False

    def _trial(self, belief: Belief) -> Block | None:
        """The shortest read that speaks against it, of those there are or would be without it or any other."""
        others = together(other for other in self._beliefs if other is not belief)
        for kept in (others, NOTHING):
            against = [block for block in (*self.reads, *self._replan(kept)) if defies(block, belief.fact)]
            if against:
                return min((beginning(block, belief.fact) for block in against), key=lambda block: block.quantity)
        return None

    # --- what follows ---

    def _end_all(self, answered: Block) -> bool:
        """What was answered can be answered: nothing to the contrary is believed any more."""
        before, is_bits = len(self._beliefs), answered.table in BIT_TABLES
        self._longest[is_bits] = max(self._longest[is_bits], answered.quantity)
        self._beliefs = [belief for belief in self._beliefs if not defies(answered, belief.fact)]
        return len(self._beliefs) < before and self._run()

    def _run(self) -> bool:
        self.learned = together(self._beliefs)
        before, self.reads = self.reads, tuple(self._replan(self.learned))
        self._proven.intersection_update(map(tags_of, self.reads))
        return self.reads != before


def is_long(block: Block) -> bool:
    """Whether its answer may be too long for a device."""
    return data_bytes(block.table, block.quantity) > SHORT_BYTES
