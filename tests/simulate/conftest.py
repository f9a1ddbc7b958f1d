"""Configurations to simulate, built without a file."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.config.model import Bus, Config, Device, Gateway, Store, Table, Tag
from agent.model import ValueType

MS = 1_000_000


LENGTHS = {
    ValueType.U32: 2, ValueType.I32: 2, ValueType.F32: 2, ValueType.BCD32: 2,
    ValueType.U64: 4, ValueType.I64: 4, ValueType.F64: 4, ValueType.TEXT: 8,
}  # fmt: skip


def tag(name: str, table: Table, address: int, type: ValueType = ValueType.U16, **more: Any) -> Tag:  # noqa: A002
    more.setdefault("length", LENGTHS.get(type, 1))
    return Tag(name=name, table=table, address=address, type=type, every_ns=1000 * MS, **more)


def bus(name: str, *devices: Device, port: str = "/dev/ttyS99", **more: Any) -> Bus:
    return Bus(name=name, port=port, timeout_ns=300 * MS, devices=devices, **{"parity": "N", **more})


@pytest.fixture
def make_tag() -> Callable[..., Tag]:
    return tag


@pytest.fixture
def make_bus() -> Callable[..., Bus]:
    return bus


@pytest.fixture
def make_config() -> Callable[..., Config]:
    def config(*buses: Bus) -> Config:
        return Config(gateway=Gateway(id="test"), mqtt=None, store=Store(), buses=buses)

    return config
