"""Files of batches and schemas in, JSON lines of samples out; gaps and what cannot be read go to stderr."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent._native.columns import message_end
from agent.batch import Batch, Sample, SchemaBook, UnknownSchemaError, decode, is_schema
from agent.batch.record import in_json
from agent.errors import ExitCode, FormatError
from agent.model import Gap

US_PER_S = 1_000_000
MOST_TOLD = 5  # unreadable messages of one file: a file that is something else is thousands of them


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "files",
        nargs="*",
        default=["-"],
        metavar="FILE",
        help="payloads of MQTT messages, batches and schemas in any order; - is standard input (default)",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines, which is what it always prints")


def run(args: argparse.Namespace) -> int:
    """Decode everything that can be decoded; 1 when something could not."""
    reader = _Reader()
    for name in args.files:
        reader.read(name)
    reader.finish()
    return ExitCode.FAILURE if reader.failures else ExitCode.OK


def sample_json(sample: Sample, *, historical: bool) -> bytes:
    """One sample as a line of JSON, as docs/FORMAT.md says."""
    line = {
        "gateway": sample.gateway,
        "tag": sample.tag,
        "t": msgspec.Raw(_seconds(sample.t_us)),
        **in_json(sample.v, sample.raw, sample.type),
        "q": sample.q,
        "unit": sample.unit,
        "seq": sample.seq,
        "epoch": sample.epoch.hex(),
    }
    if sample.q == "exception":
        line["code"] = sample.detail
    if historical:
        line["historical"] = True
    return msgspec.json.encode(line)


def gap_line(gateway: str, gap: Gap) -> str:
    """A gap as a person reads it."""
    batches = f"batches {gap.first_seq} to {gap.last_seq}" if gap.last_seq >= gap.first_seq else "no whole batch"
    samples = f"{gap.samples} samples" if gap.samples else "an unknown number of samples"
    return f"gap: {gateway} epoch {gap.epoch.hex()}: {batches}, {samples} lost: {gap.reason}"


class _Found(NamedTuple):
    """A batch and where it was found."""

    where: str
    payload: bytes


class _Reader:
    """Decodes batches as their schemas become known."""

    def __init__(self) -> None:
        self.failures = 0
        self._is_told = True
        self._book = SchemaBook()
        self._waiting: list[_Found] = []

    def read(self, name: str) -> None:
        """Decode one file; batches whose schema is not known yet wait."""
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        label = "standard input" if name == "-" else name
        before = self.failures
        for message in self._messages(label, data):
            self._is_told = self.failures - before < MOST_TOLD
            if not self._decode(message):
                self._waiting.append(message)
        self._is_told = True
        untold = self.failures - before - MOST_TOLD
        if untold > 0:
            print(f"{label}: {untold} more of its messages cannot be read", file=sys.stderr)

    def finish(self) -> None:
        """Decode what waited for schemas that came later; name what is left."""
        for message in self._waiting:
            try:
                self._decode(message, last=True)
            except UnknownSchemaError as error:
                self._fail(message.where, error)

    def _messages(self, name: str, data: bytes) -> Iterator[_Found]:
        """The messages of one file, which follow each other without anything between."""
        if not data:
            self._fail(name, FormatError("is empty"))
        start = 0
        while start < len(data):
            where = f"{name}: message at byte {start}"
            try:
                end = message_end(data, start)
            except FormatError as error:
                self._fail(where, error)
                return
            yield _Found(where, data[start:end])
            start = end

    def _decode(self, message: _Found, *, last: bool = False) -> bool:
        try:
            if is_schema(message.payload):
                self._book.add(message.payload)
            else:
                _print(decode(message.payload, self._book))
        except UnknownSchemaError:
            if last:
                raise
            return False
        except FormatError as error:
            self._fail(message.where, error)
        return True

    def _fail(self, where: str, error: FormatError) -> None:
        self.failures += 1
        if self._is_told:
            print(f"{where}: {error}", file=sys.stderr)


def _print(batch: Batch) -> None:
    for gap in batch.gaps:
        print(gap_line(batch.gateway, gap), file=sys.stderr)
    lines = [sample_json(sample, historical=batch.historical) for sample in batch.samples]
    sys.stdout.write("".join(line.decode() + "\n" for line in lines))


def _seconds(t_us: int) -> bytes:
    """Exact: a float would round times far from now."""
    whole, part = divmod(abs(t_us), US_PER_S)
    return f"{'-' if t_us < 0 else ''}{whole}.{part:06d}".encode()
