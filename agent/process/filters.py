"""A tag table in, the compiled filter that thins its samples out."""

import struct
from collections.abc import Sequence

from agent._native.filter import Filter
from agent.model import Tag

RULE = struct.Struct("=dddqqqB7x")  # ft_rule in _native/core/filter.h


def compile_filter(tags: Sequence[Tag]) -> Filter:
    """The periods, dead bands and heartbeats of `tags`, in tag order, as one Filter."""
    return Filter(b"".join(_rule(tag) for tag in tags))


def _rule(tag: Tag) -> bytes:
    thinned_ns, early_ns = (tag.every_ns, tag.read_ns // 2) if tag.read_ns < tag.every_ns else (0, 0)
    return RULE.pack(tag.scale, tag.offset, tag.deadband_value, tag.heartbeat_ns, thinned_ns, early_ns, tag.deadband)
