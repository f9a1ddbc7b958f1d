"""Requests to a running agent and its answers, each one line of JSON; pure.

A request is `{"v": 1, "do": NAME, ...}`; its answer is `{"ok": {...}}`, or `{"error": TEXT, "exit": CODE}` with the
code that a command exits with, and with `"code"` when a device refused with this exception.
"""

import json
from typing import Any, NamedTuple

from agent.config.model import Tag
from agent.errors import DeviceError, ExitCode, FieldtapError, UsageError

VERSION = 1
MAX_LINE_BYTES = 4096  # the longest is a PDU in hexadecimal, 506 characters

Facts = dict[str, Any]


class Request(NamedTuple):
    """What is to be done, and with what."""

    do: str
    facts: Facts

    def text(self, key: str) -> str:
        """A fact that must be text. Raises UsageError."""
        fact = self.facts.get(key)
        if not isinstance(fact, str):
            raise UsageError(f"{self.do}: {key} is {fact!r}, it must be text")
        return fact

    def number(self, key: str, most: int) -> int:
        """A fact that must be a whole number from 0 to `most`. Raises UsageError."""
        fact = self.facts.get(key)
        if not isinstance(fact, int) or isinstance(fact, bool) or not 0 <= fact <= most:
            raise UsageError(f"{self.do}: {key} is {fact!r}, it must be a number from 0 to {most}")
        return fact

    def hexadecimal(self, key: str) -> bytes:
        """A fact that must be bytes in hexadecimal. Raises UsageError."""
        try:
            return bytes.fromhex(self.text(key))
        except ValueError:
            raise UsageError(f"{self.do}: {key} is {self.facts[key]!r}, it must be hexadecimal") from None


class AgentError(FieldtapError):
    """A running agent has refused, or could not do, what it was asked for; `exit_code` is the one it gave."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def request_line(do: str, facts: Facts) -> bytes:
    """A request as it is sent."""
    return _line({"v": VERSION, "do": do, **facts})


def answer_line(facts: Facts) -> bytes:
    """The answer to a request that was carried out."""
    return _line({"ok": facts})


def error_line(error: FieldtapError) -> bytes:
    """The answer to one that was not."""
    code = {"code": error.code} if isinstance(error, DeviceError) else {}
    return _line({"error": str(error), "exit": int(error.exit_code), **code})


def read_request(line: bytes) -> Request:
    """A line as it came, taken apart. Raises UsageError."""
    document = _document(line)
    version, do = document.pop("v", None), document.pop("do", None)
    if version != VERSION:
        raise UsageError(f"version {version!r} of the protocol is not spoken here; this is version {VERSION}")
    if not isinstance(do, str):
        raise UsageError(f"`do` is {do!r}, it must say what is to be done")
    return Request(do, document)


def read_answer(line: bytes) -> Facts:
    """What a request has brought. Raises DeviceError when a device refused, AgentError for all else that went wrong."""
    document = _document(line)
    facts, error = document.get("ok"), document.get("error")
    if isinstance(facts, dict):
        return facts
    if not isinstance(error, str):
        raise AgentError("the agent's answer cannot be understood; is it of another version?", ExitCode.FAILURE)
    code = document.get("code")
    if isinstance(code, int):
        raise DeviceError(error, code)
    known = [each for each in ExitCode if each == document.get("exit")]
    raise AgentError(error, known[0] if known else ExitCode.FAILURE)


def form_facts(tag: Tag) -> list[int]:
    """What tells tags of one register apart."""
    return [tag.type, tag.length, tag.bits, tag.shift, tag.is_wide]


def _document(line: bytes) -> Facts:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UsageError("what came is no line of JSON with an object")
    return document


def _line(document: Facts) -> bytes:
    return json.dumps(document, allow_nan=False).encode() + b"\n"
