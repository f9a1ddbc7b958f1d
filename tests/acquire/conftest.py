"""Typed configurations for plans, built without files."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from agent.config.model import Bus, Config, Device, Gateway, Store, Table, Tag
from agent.model import ValueType

S = 1_000_000_000
LENGTHS = {ValueType.F32: 2, ValueType.U32: 2, ValueType.I32: 2, ValueType.F64: 4, ValueType.U64: 4}


def _tag(table: Table, address: int, type_: ValueType = ValueType.U16, **settings: Any) -> Tag:
    settings = {"name": f"{table}{address}", "every_ns": S, "length": LENGTHS.get(type_, 1), **settings}
    return Tag(table=table, address=address, type=type_, **settings)


def _config(*devices: Device, **bus: Any) -> Config:
    settings = {"name": "b", "port": "/dev/x", "timeout_ns": 300_000_000, **bus}
    return Config(gateway=Gateway(id="g"), mqtt=None, store=Store(), buses=(Bus(devices=devices, **settings),))


def _device(tags: Iterable[Tag], **settings: Any) -> Device:
    return Device(**{"name": "d", "unit": 1, "tags": tuple(tags), **settings})


@pytest.fixture
def tag() -> Callable[..., Tag]:
    return _tag


@pytest.fixture
def device() -> Callable[..., Device]:
    return _device


@pytest.fixture
def config() -> Callable[..., Config]:
    """A configuration of one bus."""
    return _config
