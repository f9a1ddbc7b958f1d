"""A unit in; the questions that make a device say what it is, one by one, and all that it said, out; pure."""

from collections.abc import Generator, Sequence
from typing import NamedTuple

from agent.acquire import pdu
from agent.acquire.pdu import Ask, Diagnostic, Events, Level
from agent.devices.recognise import Place, Traits
from agent.errors import BusError, DeviceError, MalformedError

MAX_PARTS = 64  # answers of one level: 256 objects of 60 bytes
LOOP_WORD, BARRIER_WORD = 0xA537, 0x5AC8
FROM_GATEWAY = (10, 11)  # exceptions that say nothing of the device but that it was not heard
COUNTERS = {
    Diagnostic.REGISTER: "diagnostic register",
    Diagnostic.BUS_MESSAGES: "bus messages",
    Diagnostic.BUS_ERRORS: "bus errors",
    Diagnostic.EXCEPTIONS: "exceptions",
    Diagnostic.MESSAGES: "messages",
    Diagnostic.SILENT: "without answer",
    Diagnostic.REFUSALS: "refusals",
    Diagnostic.BUSY: "busy",
    Diagnostic.OVERRUNS: "overruns",
}

Steps = Generator[Ask, bytes, None]


class Reply(NamedTuple):
    """What became of one question."""

    question: str
    function: str  # as people write it
    why: str = ""  # why it was not answered, or not to the end


class Inquiry:
    """One device: what it has said so far. Drive `steps()`, and throw BusError or DeviceError in where none answers."""

    def __init__(self, unit: int, places: Sequence[Place]) -> None:
        """`places`: registers that tell models from one another."""
        self.objects: dict[int, bytes] = {}
        self.server_id = b""
        self.registers: dict[Place, bytes] = {}
        self.status: int | None = None
        self.events: Events | None = None
        self.loops_back = False
        self.counters: dict[Diagnostic, int] = {}
        self.replies: list[Reply] = []
        self._unit = unit
        self._places = places
        self._is_heard = False
        self._silence: BusError | DeviceError | None = None

    @property
    def traits(self) -> Traits:
        """What it may be recognised by."""
        return Traits(self.objects, self.server_id, self.registers)

    def steps(self) -> Steps:
        """All questions. Raises the last error when it says nothing to those that tell what it is."""
        yield from self._question("identification", "43/14", self._identify())
        yield from self._question("server id", "17", self._tell_id())
        yield from self._question("registers", "3 4", self._read())
        if not self._is_heard and self._silence:
            raise self._silence
        yield from self._question("exception status", "7", self._tell_status())
        yield from self._question("event counter", "11", self._count_events())
        yield from self._question("event log", "12", self._log_events())
        yield from self._question("diagnostics", "8", self._diagnose())

    def _question(self, question: str, function: str, steps: Steps) -> Steps:
        """A refusal or a silence ends one question, not the others."""
        why = ""
        try:
            yield from steps
        except (BusError, DeviceError) as error:
            why = str(error)
        self.replies.append(Reply(question, function, why))

    def _ask(self, request: bytes) -> Generator[Ask, bytes, bytes]:
        """The answer; remembers whether anything was heard of the device at all."""
        try:
            answer = yield Ask(self._unit, request)
        except DeviceError as error:
            if error.code in FROM_GATEWAY:
                self._silence = error
            else:
                self._is_heard = True
            raise
        except BusError as error:
            self._silence = error
            raise
        self._is_heard = True
        return answer

    # --- what it is ---

    def _identify(self) -> Steps:
        """The basic objects, and as many more as it says that it has."""
        most = yield from self._level(Level.BASIC)
        for level in (Level.REGULAR, Level.EXTENDED):
            if most >= level:
                yield from self._level(level)

    def _level(self, level: Level) -> Generator[Ask, bytes, int]:
        """All objects of one level, answer by answer; the highest level that the device has."""
        first = 0
        for _ in range(MAX_PARTS):
            part = pdu.identification((yield from self._ask(pdu.device_identification(level, first))))
            if first and first not in part.objects:
                raise MalformedError(f"it does not go on with object {first} of its identification, as it said")
            self.objects.update(part.objects)
            if part.following is None:
                return part.level
            if part.following <= max(part.objects, default=first):
                raise MalformedError(
                    f"it goes on with object {part.following} of its identification, which it has told"
                )
            first = part.following
        raise MalformedError(f"its identification does not end after {MAX_PARTS} answers")

    def _tell_id(self) -> Steps:
        self.server_id = pdu.data((yield from self._ask(pdu.server_id())))

    def _read(self) -> Steps:
        """Registers that are not there are refused one by one.

        Behind a silence the late answer could be taken for the next one: only a device that is known to be in step
        again is asked on.
        """
        for place in self._places:
            request = pdu.read(place.table, place.address, place.registers)
            try:
                self.registers[place] = pdu.data((yield from self._ask(request)))
            except DeviceError:
                continue
            except BusError:
                yield from self._barrier()

    def _barrier(self) -> Steps:
        """Both the loop-back's answer and its refusal say that nothing older is under way."""
        try:
            yield from self._ask(pdu.diagnostic(Diagnostic.LOOP_BACK, BARRIER_WORD))
        except DeviceError:
            return

    # --- how it is ---

    def _tell_status(self) -> Steps:
        self.status = pdu.status((yield from self._ask(pdu.exception_status())))

    def _count_events(self) -> Steps:
        self.events = pdu.events((yield from self._ask(pdu.event_counter())))

    def _log_events(self) -> Steps:
        self.events = pdu.logged((yield from self._ask(pdu.event_log())))

    def _diagnose(self) -> Steps:
        """Counters that it does not have are left out."""
        yield from self._ask(pdu.diagnostic(Diagnostic.LOOP_BACK, LOOP_WORD))
        self.loops_back = True
        for which in COUNTERS:
            try:
                self.counters[which] = pdu.counter((yield from self._ask(pdu.diagnostic(which))))
            except DeviceError:
                continue
