"""One word of the command line in, the checked value out; what there is in, how a terminal may be told of it out."""

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


def counted(number: int, thing: str) -> str:
    """`1 tag`, `2 tags`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
