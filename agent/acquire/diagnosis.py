"""Counters of a bus and of its UART in, what is wrong with the line in a sentence out; pure.

A window stays open until it holds enough damage to speak of, or enough transactions to call the line good.
"""

from typing import NamedTuple

EVIDENCE = 3  # damaged answers: one is chance, two are bad luck
DAMAGED_SHARE = 0.001  # of the transactions; less is what a good line has
WINDOW = int(EVIDENCE / DAMAGED_SHARE)  # transactions
WRAP = 1 << 32  # of the kernel's counters
MOST = 0.1  # of the characters: a wrong setting breaks most of them, noise a few

SENTENCES = {
    "overrun": "the host lost {overruns} characters, it fetches them too late: lower the baud rate, or see what keeps "
    "its interrupts (on a Pi: the mini-UART, a USB hub)",
    "format": "{bad} of {received} characters are malformed: the devices use another baud rate, parity or number of "
    "stop bits than this bus",
    "parity": "{parity} of {received} characters have the wrong parity: the devices use another parity than this bus",
    "break": "the line is held low ({breaks} breaks): A and B swapped, a short circuit, or no bias while nobody sends",
    "noise": "{bad} of {received} characters were damaged on the way: look at termination, bias, shield, ground and "
    "cable length",
    "intact": "no character is malformed and yet frames are damaged: two masters on the line, devices with the same "
    "address, one that sends frames in pieces, or noise that only a parity bit would show",
    "unseen": "its driver does not tell whether characters or frames are damaged",
}


class Uart(NamedTuple):
    """Characters since some time ago, and what was wrong with some of them."""

    received: int
    framing: int  # no stop bit where one should be
    parity: int
    breaks: int  # the line was low for longer than a character
    overruns: int  # nobody fetched them in time

    def since(self, before: "Uart") -> "Uart":
        """What has been counted since; the kernel's numbers are 32 bits wide."""
        return Uart(*((now - then) % WRAP for now, then in zip(self, before, strict=True)))


class Counted(NamedTuple):
    """What has been counted so far; `uart` None: the driver does not tell."""

    transactions: int
    timeouts: int
    crc_errors: int
    uart: Uart | None
    marks: tuple[int, int, int] = (0, 0, 0)  # characters heard while marking, those marked, those that may be breaks


class Finding(NamedTuple):
    """What is wrong; `cause` is a key of SENTENCES."""

    cause: str
    sentence: str


class Window:
    """Looks at a line's counters now and then."""

    def __init__(self, begin: Counted) -> None:
        self.finding: Finding | None = None
        self._begin = begin

    def look(self, now: Counted, *, marking: bool) -> bool:
        """Whether a window is complete; `finding` is what it showed, None for a good line."""
        uart = self._uart(now, marking=marking)
        damaged = now.crc_errors - self._begin.crc_errors
        if uart and sum(uart[1:]):
            damaged += now.timeouts - self._begin.timeouts  # silence alone is no damage
        if damaged < EVIDENCE and now.transactions - self._begin.transactions < WINDOW:
            return False
        self.finding = _find(uart) if damaged >= EVIDENCE else None
        self._begin = now
        return True

    def _uart(self, now: Counted, *, marking: bool) -> Uart | None:
        """The driver's counters, or what the marks say where it has none that move."""
        counted = now.uart.since(self._begin.uart) if now.uart and self._begin.uart else None
        if not marking or (counted and sum(counted[1:])):
            return counted
        heard, bad, breaks = (new - old for new, old in zip(now.marks, self._begin.marks, strict=True))
        return Uart(heard, bad - breaks, 0, breaks, 0)


def is_unsure(finding: Finding | None) -> bool:
    """Whether marking damaged characters may tell more: some drivers only count while they mark."""
    return finding is not None and finding.cause in ("unseen", "intact")


def _find(uart: Uart | None) -> Finding:
    cause = _cause(uart)
    facts = uart._asdict() | {"bad": uart.framing + uart.parity} if uart else {}
    return Finding(cause, SENTENCES[cause].format(**facts))


def _cause(uart: Uart | None) -> str:
    if uart is None:
        return "unseen"
    most = max(EVIDENCE, MOST * uart.received)
    if uart.overruns > uart.framing + uart.parity:
        return "overrun"
    if uart.breaks > uart.framing + uart.parity:
        return "break"
    if uart.framing >= most:
        return "format"
    if uart.parity >= most:
        return "parity"
    return "noise" if uart.framing + uart.parity else "intact"
