"""Names of files and secrets in, their contents out; the only place where the configuration touches the system."""

import os
import re
import tomllib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from agent.config.nodes import Node, Place, located
from agent.config.report import Report
from agent.errors import NotPermittedError

MAX_FILE_BYTES = 16 * 1024 * 1024  # 2 000 tags take 180 kB; a device or a disk image given by mistake ends here
MAX_SECRET_BYTES = 64 * 1024  # tokens and passwords; more is the wrong file
SERIAL_FILES = ("/proc/device-tree/serial-number", "/etc/machine-id")
SERIAL_DIGITS = 8
SHIPPED_MAPS = Path(__file__).parent.parent / "devices"


def read_main(path: str, report: Report) -> Node | None:
    """The document at `path`; None when it cannot be read or is no TOML, which is reported."""
    return _document(path, report)


def read_fragments(path: str, report: Report) -> list[Node]:
    """The documents of conf.d beside `path`, in the order of their names, as far as they are TOML."""
    folder = Path(path).parent / "conf.d"
    try:
        fragments = sorted(str(entry) for entry in folder.iterdir() if entry.suffix == ".toml")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise _not_permitted(str(folder), error) from error
    documents = [_document(fragment, report) for fragment in fragments]
    return [document for document in documents if document is not None]


def read_map(path: str, report: Report) -> Node | None:
    """The device map at `path`; OSError when there is none."""
    return _parsed(_bytes(path, MAX_FILE_BYTES), path, report)


def shipped_maps() -> dict[str, str]:
    """Names of the device maps that come with fieldtap, and where they are."""
    return {path.stem: str(path) for path in sorted(SHIPPED_MAPS.glob("*.toml"))}


def beside(file: str, name: str) -> str:
    """`name` as `file` means it: relative to the folder of the file it is written in."""
    return str(Path(file).parent / name)


def why_unreadable(path: str) -> OSError | None:
    """What the system says when `path` is opened as a file, None when it can be read."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        return error
    return None


def read_secret(path: str) -> str:
    """The text of a secret's file without the line end that editors add; OSError or UnicodeError when it has none."""
    return _bytes(path, MAX_SECRET_BYTES).decode().rstrip("\r\n")


def reason(error: OSError) -> str:
    """The system's words without number and file name."""
    return error.strerror or str(error)


def environment(name: str) -> str | None:
    """An environment variable; None when it is not set."""
    return os.environ.get(name)


def default_gateway_id() -> str:
    """fieldtap-<serial>: the board's own number, or one derived from the machine id."""
    for path in SERIAL_FILES:
        try:
            serial = _bytes(path, MAX_SECRET_BYTES).decode(errors="replace").strip("\0\r\n ")
        except OSError:
            continue
        if path.endswith("machine-id"):  # machine-id(5) asks not to show the id itself on a network
            from hashlib import sha256  # noqa: PLC0415 # OpenSSL is too much to load for a gateway that has an id

            serial = sha256(b"fieldtap" + serial.encode()).hexdigest()
        if serial.isalnum():
            return f"fieldtap-{serial[-SERIAL_DIGITS:]}"
    return "fieldtap"


def _document(path: str, report: Report) -> Node | None:
    try:
        return _parsed(_bytes(path, MAX_FILE_BYTES), path, report)
    except PermissionError as error:
        raise _not_permitted(path, error) from error
    except OSError as error:
        report.mistake(Place(path), reason(error))
        return None


def _bytes(path: str, most: int) -> bytes:
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"larger than {most} bytes")
    return content


def _not_permitted(path: str, error: PermissionError) -> NotPermittedError:
    return NotPermittedError(f"{path}: {reason(error)}; run as a user who may read it, or change its mode")


def _parsed(content: bytes, file: str, report: Report) -> Node | None:
    report.opened(file)
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        return located(tomllib.loads(text), text, file)
    except UnicodeDecodeError as error:
        report.mistake(_place_of_byte(content, error.start, file), _not_utf_8(content, error.start))
    except RecursionError:
        report.mistake(Place(file, 1, 1), "not valid TOML: nested too deeply")
    except ValueError as error:  # tomllib.TOMLDecodeError, and int() of thousands of digits
        report.mistake(*_syntax_mistake(str(error).partition(": value has")[0], text, file))
    return None


def _not_utf_8(content: bytes, at: int) -> str:
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "this is UTF-16, as some editors save by themselves; save it as UTF-8"
    return f"byte 0x{content[at]:02x} is not UTF-8"


def _place_of_byte(content: bytes, offset: int, file: str) -> Place:
    line_start = content.rfind(b"\n", 0, offset) + 1
    column = len(content[line_start:offset].decode()) + 1
    return Place(file, content.count(b"\n", 0, offset) + 1, column)


def _strange(text: str, line: int, column: int) -> str:
    """Names a character that looks like one of TOML's, or like nothing, as word processors and web pages put it."""
    char = text.split("\n")[line - 1][column - 1 : column]
    if char.isascii() or char.isalnum():
        return ""
    return f"; the character here is {f'{char!r}, ' if char.isprintable() else ''}U+{ord(char):04X}"


def _syntax_mistake(message: str, text: str, file: str) -> tuple[Place, str]:
    """The words of tomllib are `REASON (at line L, column C)` or `REASON (at end of document)`."""
    reason, _, where = message.removesuffix(")").rpartition(" (at ")
    numbers = re.fullmatch(r"line (\d+), column (\d+)", where)
    if numbers:
        line, column = int(numbers[1]), int(numbers[2])
        return Place(file, line, column), f"not valid TOML: {reason}{_strange(text, line, column)}"
    if where == "end of document":
        lines = text.split("\n")
        return Place(file, len(lines), len(lines[-1]) + 1), f"not valid TOML: {reason} at the end of the file"
    return Place(file, 1, 1), f"not valid TOML: {message}"
