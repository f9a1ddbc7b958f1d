"""Modbus requests as values in, PDUs out, and back from the PDUs that answer them; pure.

Every function a gateway asks for beside its plan, in one place. Limits: Modbus Application Protocol V1.1b3, section 6.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from agent.config.model import MAX_BITS, MAX_REGISTERS, Table

READ_FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_WRITE = 5, 6, 15, 16, 22
EXCEPTION_STATUS, DIAGNOSTICS, EVENT_COUNTER, SERVER_ID, READ_WRITE, ENCAPSULATED = 7, 8, 11, 17, 23, 43
DEVICE_IDENTIFICATION = 14  # the encapsulated interface for it
COIL_ON = 0xFF00
LOOP_BACK = 0  # sub-function of DIAGNOSTICS
READING_DIAGNOSTICS = [sub.to_bytes(2) for sub in (LOOP_BACK, 2, *range(11, 19))]  # its registers and counters
MAX_WRITE_REGISTERS = 123
BROADCAST = 0  # the unit number for all devices of a serial line
RTU_OVERHEAD, TCP_OVERHEAD = 3, 7  # unit and CRC; MBAP


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


def exception_status() -> bytes:
    """FC 7: eight bits that mean what the device's manual says."""
    return bytes([EXCEPTION_STATUS])


def loop_back(word: int) -> bytes:
    """FC 8, sub-function 0: comes back as it is."""
    return struct.pack(">BHH", DIAGNOSTICS, LOOP_BACK, word)


def event_counter() -> bytes:
    """FC 11: whether it is busy, and how many requests it has carried out."""
    return bytes([EVENT_COUNTER])


def server_id() -> bytes:
    """FC 17: bytes that mean what the device's manual says."""
    return bytes([SERVER_ID])


def device_identification(level: int = 1, first: int = 0) -> bytes:
    """FC 43/14: the objects of a level (1 basic, 2 regular, 3 extended; 4: just one) from `first` on."""
    return bytes([ENCAPSULATED, DEVICE_IDENTIFICATION, level, first])


def only_reads(request: bytes) -> bool:
    """Whether these are a request's bytes, whole and within its limits, after which a device is as it was before."""
    function = request[0] if request else 0
    if function in READ_FUNCTIONS.values():
        most = MAX_BITS if function in (1, 2) else MAX_REGISTERS
        return len(request) == 5 and 1 <= _quantity(request) <= most
    if function == DIAGNOSTICS:
        return len(request) == 5 and request[1:3] in READING_DIAGNOSTICS
    if function == ENCAPSULATED:
        return len(request) == 4 and request[1] == DEVICE_IDENTIFICATION
    return request in (exception_status(), event_counter(), server_id())


# --- answers ---


def answer_bytes(request: bytes) -> int:
    """How long the PDU is that answers this request; 0: only it tells."""
    function = request[0]
    if function in (1, 2):
        return 2 + (_quantity(request) + 7) // 8
    if function in (3, 4, READ_WRITE):
        return 2 + 2 * _quantity(request)
    fixed = {
        WRITE_COIL: 5,
        WRITE_REGISTER: 5,
        WRITE_COILS: 5,
        WRITE_REGISTERS: 5,
        MASK_WRITE: 7,
        EXCEPTION_STATUS: 2,
        DIAGNOSTICS: len(request),
        EVENT_COUNTER: 5,
    }
    return fixed.get(function, 0)


def answer_frame_bytes(request: bytes, *, is_tcp: bool) -> int:
    """The same for the whole frame."""
    length = answer_bytes(request)
    return length and length + (TCP_OVERHEAD if is_tcp else RTU_OVERHEAD)


def _quantity(request: bytes) -> int:
    quantity: int = struct.unpack_from(">H", request, 3)[0]
    return quantity


def data(answer: bytes) -> bytes:
    """What FC 1 to 4, 17 and 23 answer behind their byte count."""
    return answer[2 : 2 + answer[1]]


def coils(answer: bytes, quantity: int) -> list[bool]:
    """What FC 1 and 2 answer, bit by bit."""
    bits = int.from_bytes(data(answer), "little")
    return [bool(bits >> at & 1) for at in range(quantity)]


def status(answer: bytes) -> int:
    """The eight bits of FC 7."""
    return answer[1]


def events(answer: bytes) -> tuple[bool, int]:
    """Of FC 11: whether the device is still busy with a command before, and its count."""
    busy, count = struct.unpack_from(">HH", answer, 1)
    return busy == 0xFFFF, count


class Identification(NamedTuple):
    """One answer of FC 43/14: objects by number, and where to go on, if there is more."""

    objects: dict[int, bytes]
    following: int | None


def identification(answer: bytes) -> Identification:
    """What FC 43/14 answers."""
    _, _, _, _, more, following, count = answer[:7]
    objects, at = {}, 7
    for _ in range(count):
        number, size = answer[at], answer[at + 1]
        objects[number] = answer[at + 2 : at + 2 + size]
        at += 2 + size
    return Identification(objects, following if more else None)
