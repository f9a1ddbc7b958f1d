"""Modbus requests as values in, PDUs out, and back from the PDUs that answer them; pure.

Every function a gateway asks for beside its plan, in one place. Limits: Modbus Application Protocol V1.1b3, section 6.
An answer that contradicts itself is a MalformedError; that it answers its request is the master's to check.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from agent._native import codec
from agent.config.model import Table
from agent.errors import MalformedError

READ_FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_WRITE = 5, 6, 15, 16, 22
EXCEPTION_STATUS, DIAGNOSTICS, EVENT_COUNTER, EVENT_LOG, SERVER_ID = 7, 8, 11, 12, 17
READ_FILE, WRITE_FILE, READ_WRITE, READ_FIFO, ENCAPSULATED = 20, 21, 23, 24, 43
DEVICE_IDENTIFICATION = 14  # the encapsulated interface for it
COIL_ON = 0xFF00
MAX_WRITE_REGISTERS = 123
MAX_RECORDS = 121  # registers of one file that one request reads: 245 bytes of answer
MAX_WRITE_RECORDS = 122  # the same to be written
MAX_FILE, MAX_RECORD = 0xFFFF, 9999
FILE_REFERENCE = 6  # the only reference type there is
BROADCAST = 0  # the unit number for all devices of a serial line
RTU_OVERHEAD, TCP_OVERHEAD = 3, 7  # unit and CRC; MBAP
EXCEPTIONS = {  # the same, section 7
    1: "it does not know this function",
    2: "it has no such register",
    3: "it does not accept this quantity or value",
    4: "it failed while trying",
    5: "it has begun and will take long",
    6: "it is busy",
    7: "it cannot do this now",
    8: "its memory has a parity error",
    9: "a code that Modbus does not define",
    10: "the gateway has no path to it",
    11: "the gateway heard nothing from it",
}


class Diagnostic(IntEnum):
    """Sub-functions of FC 8."""

    LOOP_BACK = 0
    RESTART = 1
    REGISTER = 2
    DELIMITER = 3
    LISTEN_ONLY = 4  # is not answered, and nothing after it until a restart
    CLEAR = 10
    BUS_MESSAGES = 11
    BUS_ERRORS = 12
    EXCEPTIONS = 13
    MESSAGES = 14
    SILENT = 15
    REFUSALS = 16
    BUSY = 17
    OVERRUNS = 18
    CLEAR_OVERRUN = 20


READING = (
    *READ_FUNCTIONS.values(),
    EXCEPTION_STATUS,
    EVENT_COUNTER,
    EVENT_LOG,
    SERVER_ID,
    READ_FILE,
    READ_FIFO,
    ENCAPSULATED,
)
READING_DIAGNOSTICS = [
    which.to_bytes(2)
    for which in Diagnostic
    if which in (Diagnostic.LOOP_BACK, Diagnostic.REGISTER) or Diagnostic.CLEAR < which < Diagnostic.CLEAR_OVERRUN
]


class Level(IntEnum):
    """Which objects FC 43/14 tells."""

    BASIC = 1  # 0 to 2
    REGULAR = 2  # to 127
    EXTENDED = 3  # to 255
    SINGLE = 4  # just one


class Ask(NamedTuple):
    """One request to one unit, to be answered or to fail."""

    unit: int
    request: bytes


# --- requests ---


def read(table: Table, address: int, quantity: int) -> bytes:
    """FC 1 to 4."""
    return struct.pack(">BHH", READ_FUNCTIONS[table], address, quantity)


def write_coil(address: int, *, on: bool) -> bytes:
    """FC 5."""
    return struct.pack(">BHH", WRITE_COIL, address, COIL_ON if on else 0)


def write_register(address: int, register: bytes) -> bytes:
    """FC 6: two bytes as they go over the wire."""
    return struct.pack(">BH2s", WRITE_REGISTER, address, register)


def write_coils(address: int, coils: Sequence[bool]) -> bytes:
    """FC 15."""
    packed = sum(on << at for at, on in enumerate(coils)).to_bytes((len(coils) + 7) // 8, "little")
    return struct.pack(">BHHB", WRITE_COILS, address, len(coils), len(packed)) + packed


def write_registers(address: int, registers: bytes) -> bytes:
    """FC 16: two bytes for each register."""
    return struct.pack(">BHHB", WRITE_REGISTERS, address, len(registers) // 2, len(registers)) + registers


def mask_write(address: int, keep: bytes, put: bytes) -> bytes:
    """FC 22: of two bytes each; the register becomes `(register & keep) | (put & ~keep)`, at once for all who look."""
    return struct.pack(">BH2s2s", MASK_WRITE, address, keep, put)


def read_write(address: int, quantity: int, write_address: int, registers: bytes) -> bytes:
    """FC 23: writes first, then reads."""
    head = struct.pack(">BHHHH", READ_WRITE, address, quantity, write_address, len(registers) // 2)
    return head + bytes([len(registers)]) + registers


def read_file(*records: tuple[int, int, int]) -> bytes:
    """FC 20: of each file so many registers from a record on."""
    groups = b"".join(struct.pack(">BHHH", FILE_REFERENCE, *group) for group in records)
    return bytes([READ_FILE, len(groups)]) + groups


def write_file(file: int, record: int, registers: bytes) -> bytes:
    """FC 21: two bytes for each register from a record on."""
    group = struct.pack(">BHHH", FILE_REFERENCE, file, record, len(registers) // 2) + registers
    return bytes([WRITE_FILE, len(group)]) + group


def read_fifo(address: int) -> bytes:
    """FC 24: the registers that wait in a queue, at most 31; they stay there."""
    return struct.pack(">BH", READ_FIFO, address)


def exception_status() -> bytes:
    """FC 7: eight bits that mean what the device's manual says."""
    return bytes([EXCEPTION_STATUS])


def diagnostic(which: Diagnostic, datum: int = 0) -> bytes:
    """FC 8: loops its datum back, tells a counter, or changes the device's state."""
    return struct.pack(">BHH", DIAGNOSTICS, which, datum)


def event_counter() -> bytes:
    """FC 11: whether it is busy, and how many requests it has carried out."""
    return bytes([EVENT_COUNTER])


def event_log() -> bytes:
    """FC 12: the same, and what it heard and answered last."""
    return bytes([EVENT_LOG])


def server_id() -> bytes:
    """FC 17: bytes that mean what the device's manual says."""
    return bytes([SERVER_ID])


def device_identification(level: Level = Level.BASIC, first: int = 0) -> bytes:
    """FC 43/14: the objects of a level from `first` on."""
    return bytes([ENCAPSULATED, DEVICE_IDENTIFICATION, level, first])


def only_reads(request: bytes) -> bool:
    """Whether these are a request's bytes, whole and within its limits, after which a device is as it was before."""
    if not request or codec.request_length(request) != len(request):
        return False
    if request[0] == DIAGNOSTICS:
        return request[1:3] in READING_DIAGNOSTICS
    return request[0] in READING


# --- answers ---


def answer_bytes(request: bytes) -> int:
    """How long the PDU is that answers this request; 0: only it tells."""
    return codec.normal_length(request)


def answer_frame_bytes(request: bytes, *, is_tcp: bool) -> int:
    """The same for the whole frame."""
    length = answer_bytes(request)
    return length and length + (TCP_OVERHEAD if is_tcp else RTU_OVERHEAD)


def refusal(code: int) -> str:
    """An exception as people are told of it."""
    return f"exception {code}: {EXCEPTIONS.get(code, 'a code of its own')}"


def data(answer: bytes) -> bytes:
    """What FC 1 to 4, 17 and 23 answer behind their byte count."""
    return _whole(answer)[2:]


def coils(answer: bytes, quantity: int) -> list[bool]:
    """What FC 1 and 2 answer, bit by bit."""
    bits = int.from_bytes(data(answer), "little")
    return [bool(bits >> at & 1) for at in range(quantity)]


def status(answer: bytes) -> int:
    """The eight bits of FC 7."""
    return _whole(answer)[1]


def counter(answer: bytes) -> int:
    """What FC 8 answers to a sub-function that tells a number."""
    _, _, number = struct.unpack(">BHH", _whole(answer))
    return int(number)


class Events(NamedTuple):
    """What FC 11 and 12 tell."""

    is_busy: bool  # with a command before
    completed: int  # commands that it has carried out
    messages: int | None = None  # FC 12: heard on its line ...
    log: bytes = b""  # ... and an event a byte, newest first


def events(answer: bytes) -> Events:
    """What FC 11 answers."""
    busy, completed = struct.unpack_from(">HH", _whole(answer), 1)
    return Events(busy != 0, completed)


def logged(answer: bytes) -> Events:
    """What FC 12 answers."""
    busy, completed, messages = struct.unpack_from(">HHH", _whole(answer), 2)
    return Events(busy != 0, completed, messages, answer[8:])


def records(answer: bytes) -> list[bytes]:
    """What FC 20 answers: of each file asked for its registers."""
    rest, found = _whole(answer)[2:], []
    while rest:
        size = rest[0]
        if size < 1 or len(rest) < 1 + size or rest[1] != FILE_REFERENCE:
            raise _malformed(answer)
        found.append(rest[2 : 1 + size])
        rest = rest[1 + size :]
    return found


def queue(answer: bytes) -> bytes:
    """What FC 24 answers: the registers in the queue, two bytes each."""
    return _whole(answer)[5:]


class Identification(NamedTuple):
    """One answer of FC 43/14: objects by number, and where to go on, if there is more."""

    objects: dict[int, bytes]
    following: int | None
    level: int = Level.BASIC  # the highest that the device has


def identification(answer: bytes) -> Identification:
    """What FC 43/14 answers."""
    _, _, _, conformity, more, following, count = _whole(answer)[:7]
    objects: dict[int, bytes] = {}
    at = 7
    for _ in range(count):
        number, size = answer[at], answer[at + 1]
        if objects and number <= max(objects):
            raise _malformed(answer)
        objects[number] = answer[at + 2 : at + 2 + size]
        at += 2 + size
    return Identification(objects, following if more else None, conformity & 0x7F)


def _whole(answer: bytes) -> bytes:
    """The answer, if it is as long as it says itself."""
    if not answer or codec.response_length(answer) != len(answer):
        raise _malformed(answer)
    return answer


def _malformed(answer: bytes) -> MalformedError:
    function = answer[0] if answer else 0
    return MalformedError(f"its answer to function {function} contradicts itself: {answer.hex(' ')}")
