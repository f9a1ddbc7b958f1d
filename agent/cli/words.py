"""One word of the command line in, the checked value out; one text of a device in, what a terminal may be shown out."""

from argparse import ArgumentTypeError

MOST_SECONDS = 1e9  # 31 years; in nanoseconds still far from the end of 64 bits


def seconds(word: str) -> float:
    """A time that has an end: not negative, not infinite."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST_SECONDS:
        raise ArgumentTypeError(f"{word!r} is no number of seconds from 0 to {MOST_SECONDS:.0f}")
    return value


def printable(text: str) -> str:
    """Text of a device may hold anything; what would steer the terminal is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
