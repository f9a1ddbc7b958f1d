"""One word of the command line in, the checked value out; a word that makes no sense is a matter of usage."""

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
