"""Samples in, the same samples without what the receiver already knows out; the rules are one packed array."""

from typing_extensions import Buffer

from agent._native.samples import Samples

class Filter:
    def __init__(self, rules: Buffer) -> None: ...
    def apply(self, samples: Samples) -> int: ...
