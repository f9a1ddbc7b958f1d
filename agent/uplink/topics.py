"""A topic template, a gateway and a kind come in; the MQTT topic goes out."""

from zlib import crc32

from agent.errors import ConfigError

BUCKETS = 16  # shards of {bucket}: one hex digit, so that 16 consumers can each subscribe to one branch
MAX_TOPIC_BYTES = 256  # the smallest limit of the brokers we know (AWS IoT Core); MQTT itself allows 65,535


class Topics:
    """The topics of one gateway, checked once at start."""

    def __init__(self, template: str, gateway: str) -> None:
        self.data = expand(template, gateway, "data")
        self._schemas = expand(template, gateway, "schema")
        _check(self.schema(bytes(8)))

    def schema(self, schema_hash: bytes) -> str:
        """Where the schema of this hash is kept, retained."""
        return f"{self._schemas}/{schema_hash.hex()}"


def expand(template: str, gateway: str, kind: str) -> str:
    """`fieldtap/{gateway}/{kind}` -> `fieldtap/plant7/data`; ConfigError says what is wrong with the template."""
    topic = template
    for name, value in (("kind", kind), ("bucket", bucket_of(gateway)), ("gateway", gateway)):
        topic = topic.replace(f"{{{name}}}", value)
    _check(topic)
    return topic


def bucket_of(gateway: str) -> str:
    """The shard of a gateway: the same for ever, even over gateways, one hex digit."""
    return f"{crc32(gateway.encode()) % BUCKETS:x}"


def _check(topic: str) -> None:
    if "{" in topic or "}" in topic:
        raise ConfigError([f"mqtt.topic: unknown placeholder in {topic!r}: use {{gateway}}, {{kind}} and {{bucket}}"])
    if any(sign in topic for sign in "+#\0"):
        raise ConfigError([f"mqtt.topic: {topic!r} holds a wildcard (+ or #) or a zero byte: a topic must not"])
    if not 0 < len(topic.encode()) <= MAX_TOPIC_BYTES:
        raise ConfigError([f"mqtt.topic: {len(topic.encode())} bytes; brokers take 1 to {MAX_TOPIC_BYTES}"])
