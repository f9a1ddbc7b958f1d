"""Samples in, MQTT payloads out (OpenBatch, Encoder), and back (decode, merge). docs/FORMAT.md draws every byte."""

from agent.batch.decoder import Batch, Sample, UnknownSchemaError, decode
from agent.batch.encoder import Encoder
from agent.batch.fragments import merge
from agent.batch.message import mark_historical
from agent.batch.open import OpenBatch
from agent.batch.schema import SchemaBook, is_schema

__all__ = [
    "Batch",
    "Encoder",
    "OpenBatch",
    "Sample",
    "SchemaBook",
    "UnknownSchemaError",
    "decode",
    "is_schema",
    "mark_historical",
    "merge",
]
