"""The tables [gateway], [mqtt] and [store] in, their typed settings out."""

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from agent.config import files
from agent.config.model import MIB, Gateway, Mqtt, Store
from agent.config.nodes import Node
from agent.config.report import Report, did_you_mean
from agent.config.secrets import check_pair, readable_file, secret
from agent.config.values import UnfitError, as_is, name, number, size, text, unfit, visible, whole, words
from agent.config.walk import Key, Values, read_table

SCHEMES = ("mqtt", "mqtts", "ws", "wss")
ENCRYPTED = ("mqtts", "wss")
MAX_CPU = 1023  # what cpu_set_t holds
MAX_PATH = 4096  # PATH_MAX
MAX_TOPIC = 1024  # with its names and a schema's hash in it far from MQTT's 65 535 bytes, and beyond any broker's limit
MAX_MQTT_PAYLOAD = 256 * MIB  # MQTT's remaining length has 28 bits
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = ("gateway", "kind", "bucket")
JOURNAL_BATCHES = 2  # the one that is being written beside one that waits
LATER_ENDPOINTS = (
    "aws",
    "azure-iot-hub",
    "azure-event-grid",
    "hivemq",
    "emqx",
    "thingsboard",
    "losant",
    "sparkplug",
)


def url(node: Node) -> str:
    """mqtt://HOST[:PORT], mqtts:, or ws: and wss: with a path."""
    if not isinstance(node.value, str) or " " in visible(node.value):
        unfit('a url like "mqtts://broker.example.com:8883"')
    try:
        parts = urlsplit(node.value)
        port = parts.port
    except ValueError:
        unfit('a url like "mqtts://broker.example.com:8883" with a port from 1 to 65535')
    _check_scheme(parts, node.value)
    if parts.username is not None or parts.password is not None:
        raise UnfitError("user name and password have keys of their own: username, password", is_secret=True)
    if not parts.hostname or port == 0:
        unfit('SCHEME://HOST or SCHEME://HOST:PORT, like "mqtts://broker.example.com:8883"')
    if (parts.path.strip("/") and parts.scheme not in ("ws", "wss")) or parts.query or parts.fragment:
        unfit("nothing after host and port but a path with ws: and wss:")
    return node.value


def _check_scheme(parts: SplitResult, written: str) -> None:
    if parts.scheme in SCHEMES and "://" in written:
        return
    unfit(
        f"a url that starts with {', '.join(scheme + '://' for scheme in SCHEMES)}"
        + did_you_mean(parts.scheme, SCHEMES)
    )


def topic(node: Node) -> str:
    """A topic to publish under, with {gateway} and {kind} in it."""
    value = node.value
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TOPIC:
        unfit(f'a topic like "fieldtap/{{gateway}}/{{kind}}", of at most {MAX_TOPIC} characters')
    plain = _without_placeholders(visible(value))
    if any(mark in plain for mark in "+# "):
        unfit("no '+', '#' or space: it is published to, not subscribed")
    if "{kind}" not in value:
        unfit("a topic with {kind} in it, or batches and schemas would share one topic")
    return value


def _without_placeholders(value: str) -> str:
    for word in _PLACEHOLDER.findall(value):
        if word not in PLACEHOLDERS:
            unfit("{gateway}, {kind} and {bucket} in braces" + did_you_mean(word, PLACEHOLDERS))
    plain = _PLACEHOLDER.sub("", value)
    if any(mark in plain for mark in "{}"):
        unfit("no other braces than {gateway}, {kind} and {bucket}")
    return plain


GATEWAY = {
    "id": Key(name),
    "loop_priority": Key(whole(0, 99)),  # sched(7)
    "loop_cpu": Key(whole(0, MAX_CPU)),
}
MQTT = {
    "url": Key(url, required=True),
    "endpoint": Key(words("generic", later=LATER_ENDPOINTS)),
    "username": Key(as_is),
    "password": Key(as_is),
    "ca": Key(text(MAX_PATH)),
    "cert": Key(text(MAX_PATH)),
    "key": Key(text(MAX_PATH)),
    "alpn": Key(text(255)),  # RFC 7301: a protocol name's length is one byte
    "server_name": Key(text(253)),  # the longest DNS name as text
    "topic": Key(topic),
    "format": Key(words("columns", "plain", later=("json", "influx", "thingsboard", "sparkplug"))),
    "batch_s": Key(number(0.05, 3600)),
    "max_message_bytes": Key(whole(1024, MAX_MQTT_PAYLOAD)),
}
STORE = {
    "path": Key(text(MAX_PATH)),
    "journal_bytes": Key(size("64 KiB", "64 GiB")),
    "spool_bytes": Key(size("0 B", "16384 GiB")),
    "loss_window_s": Key(number(0.1, 3600)),
    "when_full": Key(words("thin", "drop-oldest", "drop-newest")),
}
TLS_FILES = ("ca", "cert", "key")
TLS_KEYS = (*TLS_FILES, "alpn", "server_name")
PLAIN_KEYS = ("endpoint", "alpn", "server_name", "topic", "format", "batch_s", "max_message_bytes")


def read_gateway(node: Node | None, report: Report) -> Gateway:
    """`[gateway]`; without an id the board's serial number gives one."""
    values = read_table(node, GATEWAY, "[gateway]", report) if node else None
    given = {key: values.get(key) for key in GATEWAY if values.get(key) is not None} if values else {}
    return Gateway(id=given.pop("id", "") or files.default_gateway_id(), **given)


def read_mqtt(node: Node, report: Report, *, read_secrets: bool) -> Mqtt:
    """`[mqtt]` with its files looked for and its secrets read or only looked for."""
    values = read_table(node, MQTT, "[mqtt]", report)
    _check_tls(values)
    if isinstance(values.get("password"), Node) and isinstance(values.get("password").value, str):
        values.warn("password", 'the password is readable for all who read this file; better { file = "PATH" }')
    plain: dict[str, Any] = {key: values.get(key) for key in PLAIN_KEYS if values.get(key) is not None}
    return Mqtt(
        url=values.get("url", ""),
        username=secret(values, "username", read=read_secrets),
        password=secret(values, "password", read=read_secrets),
        **plain | {key: readable_file(values, key, key) for key in TLS_FILES},
    )


def read_store(node: Node | None, mqtt: Mqtt | None, report: Report) -> Store:
    """`[store]`, which must be able to hold the batches of `[mqtt]`."""
    if node is None:
        return Store()
    values = read_table(node, STORE, "[store]", report)
    given = {key: values.get(key) for key in STORE if values.get(key) is not None}
    if "path" in given:
        given["path"] = files.beside(values.place("path").file, given["path"])
    store = Store(**given)
    if mqtt and store.journal_bytes < JOURNAL_BATCHES * mqtt.max_message_bytes:
        least = JOURNAL_BATCHES * mqtt.max_message_bytes
        values.mistake(
            "journal_bytes",
            f"journal_bytes is {store.journal_bytes}, too small for {JOURNAL_BATCHES} "
            f"batches of max_message_bytes ({mqtt.max_message_bytes}); allowed: {least} or more",
        )
    return store


def _check_tls(values: Values) -> None:
    scheme = values.get("url", "").partition(":")[0]
    if scheme and scheme not in ENCRYPTED:
        for key in TLS_KEYS:
            if values.written(key):
                message = f"{key} has no use with {scheme}://; encrypted are {', '.join(f'{s}://' for s in ENCRYPTED)}"
                values.report.mistake(values.key_place(key), message)
    check_pair(values)
