"""A secret as written in, its text out; a mere check only makes sure that it can be had.

`"text"`, `{ file = "PATH" }`, `{ env = "NAME" }` or `{ credential = "NAME" }` (systemd's LoadCredential=).
"""

from agent.config import files
from agent.config.model import Secret
from agent.config.nodes import Node
from agent.config.values import text
from agent.config.walk import Key, Values, read_table

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
MAX_MQTT_TEXT = 65_535  # MQTT's strings carry a 16-bit length
SOURCES = {"file": Key(text(4096)), "env": Key(text(256)), "credential": Key(text(256))}
_ALLOWED = 'allowed: a text, { file = "PATH" }, { env = "NAME" } or { credential = "NAME" }'


def secret(values: Values, key: str, *, read: bool) -> Secret | None:
    """The secret under `key`, None when there is none, when it is wrong (and reported), or when not `read`."""
    node: Node | None = values.get(key)
    if node is None:
        return None
    if isinstance(node.value, str):
        return _inline(values, key, node.value)
    if node.table is None:
        values.mistake(key, f"{key}; {_ALLOWED}")
        return None
    sources = read_table(node, SOURCES, key, values.report)
    if len(node.table) != 1:
        values.mistake(key, f"{key} names {len(node.table)} sources; {_ALLOWED}")
        return None
    return _from_source(key, sources, read=read)


def readable_file(values: Values, key: str, what: str) -> str | None:
    """The path under `key`, relative to its file's folder, after trying to open it; `what` it is for, in messages."""
    written = values.get(key)
    if written is None:
        return None
    path = files.beside(values.place(key).file, written)
    error = files.why_unreadable(path)
    if isinstance(error, PermissionError):
        values.warn(key, f"{what}: {path}: not readable for this user; the agent's user must be able to")
    elif error:
        values.mistake(key, f"{what}: {path}: {files.reason(error)}")
    return path


def check_pair(values: Values) -> None:
    """A certificate is of no use without its key, nor the other way round."""
    for key, other in (("cert", "key"), ("key", "cert")):
        if values.written(key) and not values.written(other):
            values.report.mistake(values.key_place(key), f"{key} needs '{other}' beside it")


def _inline(values: Values, key: str, written: str) -> Secret | None:
    size_bytes = len(written.encode())
    if not 1 <= size_bytes <= MAX_MQTT_TEXT:
        values.mistake(key, f"{key} has {size_bytes} bytes; allowed: 1 to {MAX_MQTT_TEXT}, or leave it out")
    elif not written.isprintable():  # most brokers refuse them, and nobody can type them
        hidden = next(char for char in written if not char.isprintable())
        values.mistake(key, f"{key} has U+{ord(hidden):04X} in it; allowed: characters that show")
    else:
        return Secret(written)
    return None


def _from_source(key: str, sources: Values, *, read: bool) -> Secret | None:
    if sources.get("env"):
        return _from_environment(key, sources)
    if sources.get("file"):
        path = readable_file(sources, "file", key)
        return _from_file(key, path, sources) if read and path else None
    if sources.get("credential"):
        return _from_credential(key, sources, read=read)
    return None


def _from_environment(key: str, sources: Values) -> Secret | None:
    name = sources.get("env")
    value = files.environment(name)
    if not value:
        sources.mistake("env", f"{key}: environment variable '{name}' is {'not set' if value is None else 'empty'}")
        return None
    return Secret(value)


def _from_credential(key: str, sources: Values, *, read: bool) -> Secret | None:
    name = sources.get("credential")
    folder = files.environment(CREDENTIALS_DIRECTORY)
    why = f"{key}: credential '{name}': ${CREDENTIALS_DIRECTORY} is not set"
    if "/" in name:
        sources.mistake("credential", f"{key}: credential '{name}' is a path; allowed: a name as in LoadCredential=")
    elif folder:
        return _from_file(key, f"{folder}/{name}", sources)
    elif read:
        sources.mistake("credential", f"{why}; it is where systemd puts what the unit loads with LoadCredential=")
    else:
        sources.warn("credential", f"{why} here, so it could not be looked for; the agent's unit must load it")
    return None


def _from_file(key: str, path: str, sources: Values) -> Secret | None:
    source = "file" if sources.get("file") else "credential"
    try:
        content = files.read_secret(path)
    except OSError as error:
        sources.mistake(source, f"{key}: {path}: {files.reason(error)}")
    except UnicodeError:
        sources.mistake(source, f"{key}: {path}: not text in UTF-8")
    else:
        if content:
            return Secret(content)
        sources.mistake(source, f"{key}: {path}: empty")
    return None
