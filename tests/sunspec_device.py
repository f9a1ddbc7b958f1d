"""A SunSpec device: registers with a chain of models, and what it answers to requests, without a wire."""

from collections.abc import Generator
from typing import Any

from agent.acquire import pdu
from agent.acquire.pdu import Ask
from agent.config.model import Table
from agent.errors import BusError, DeviceError

UNIT = 5
SUNS = (0x5375, 0x6E53)
SILENT = BusError("no answer")


def chain(base: int, *models: tuple[int, int], end: bool = True) -> dict[int, int]:
    """Registers of a device that has these models, by number and length."""
    held = dict(enumerate(SUNS, base))
    at = base + 2
    for number, length in (*models, *([(0xFFFF, 0)] if end else [])):
        held |= {at: number, at + 1: length}
        at += 2 + length
    return held


class Registers:
    """Holding registers; what is not there is refused, or the request gets no answer."""

    def __init__(self, held: dict[int, int], code: int | None = 2, silent: tuple[int, ...] = ()) -> None:
        self.held, self.code, self.silent = held, code, silent
        self.asked: list[int] = []

    def answer(self, ask: Ask) -> bytes:
        assert ask.unit == UNIT
        address, count = (int.from_bytes(ask.request[at : at + 2], "big") for at in (1, 3))
        assert ask.request == pdu.read(Table.HOLDING, address, count)
        self.asked.append(address)
        if address in self.silent:
            raise SILENT
        if not all(at in self.held for at in range(address, address + count)):
            raise DeviceError(f"refused with {self.code}", self.code) if self.code else SILENT
        words = b"".join(self.held[at].to_bytes(2, "big") for at in range(address, address + count))
        return bytes([3, len(words)]) + words

    def drive(self, steps: Generator[Ask, bytes, Any]) -> Any:
        """What the steps come to when this device answers; their error is raised."""
        answer: bytes | Exception | None = None
        try:
            while True:
                ask = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
                try:
                    answer = self.answer(ask)
                except (BusError, DeviceError) as error:
                    answer = error
        except StopIteration as end:
            return end.value
