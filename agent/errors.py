"""What can go wrong, as one tree of exceptions that carry their facts; the command line turns them into exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command (sysexits.h where it has a number)."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNAVAILABLE = 69
    IO_ERROR = 74
    PERMISSION = 77
    CONFIG = 78
    INTERRUPTED = 130


class FieldtapError(Exception):
    """Base of all: `str()` is one line for a person, with the remedy where there is one."""

    exit_code = ExitCode.FAILURE


class UsageError(FieldtapError):
    """The command's words are off."""

    exit_code = ExitCode.USAGE


class ConfigError(FieldtapError):
    """One or more mistakes in configuration files; `mistakes` holds them all, each as FILE:LINE:COL: message."""

    exit_code = ExitCode.CONFIG

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class BusError(FieldtapError):
    """A port or a bus does not work."""

    exit_code = ExitCode.UNAVAILABLE


class NotSentError(BusError):
    """A request that was never sent, so that nothing can have come of it."""


class MalformedError(BusError):
    """An answer that cannot be what the device meant to say; the message holds its bytes."""


class DeviceError(FieldtapError):
    """A device refused: it answered with a Modbus exception; `code` is its number."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class RefusedError(FieldtapError):
    """A value must not or cannot be written; the message names the tag, the value and the limit."""

    exit_code = ExitCode.USAGE


class StoreError(FieldtapError):
    """The store cannot be used."""

    exit_code = ExitCode.IO_ERROR


class UplinkError(FieldtapError):
    """The broker cannot be reached or refuses."""

    exit_code = ExitCode.UNAVAILABLE


class NotPermittedError(FieldtapError):
    """The system forbids it; the message says what to do."""

    exit_code = ExitCode.PERMISSION


class FormatError(FieldtapError):
    """Bytes that are not what FORMAT.md says."""
