"""A store's directory in; what is in it, whether it is intact, or its batches as files, out. Nothing is changed."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from agent.batch import SchemaBook, mark_historical, merge
from agent.errors import ExitCode, FormatError
from agent.model import BatchKey
from agent.store.pages import Status
from agent.store.view import Pending, View


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("inspect", "verify", "export"), help="what to do with the store")
    parser.add_argument("directory", metavar="DIR", type=Path, help="the store's directory: [store] path")
    parser.add_argument(
        "--to", metavar="OUT", type=Path, default=Path(), help="export: where the files go (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    """Look, and say what is there."""
    view = View(args.directory)
    try:
        if args.action == "export":
            return _export(view, args.to, as_json=args.json)
        return _report(view, verify=args.action == "verify", as_json=args.json)
    finally:
        view.close()


def _report(view: View, *, verify: bool, as_json: bool) -> int:
    """`inspect` counts; `verify` also reads every batch and fails when something is damaged."""
    document = _document(view)
    if verify:
        document["batches_read"] = sum(1 for _ in view.pending())
        document["batches_damaged"] = len(view.damaged)
    readable = view.survey.good or view.survey.blank
    intact = readable and not (view.survivors.damaged_pages or view.damaged)
    if as_json:
        print(json.dumps(document))
    else:
        _print(document)
    if verify and not intact:
        print("fieldtap: the store is damaged; the agent starts with it and reports what is lost", file=sys.stderr)
        return ExitCode.FAILURE
    return ExitCode.OK


def _document(view: View) -> dict[str, Any]:
    survey, found = view.survey, view.survivors
    return {
        "journal_bytes": survey.geometry.bytes,
        "page_bytes": survey.geometry.page_bytes,
        "pages": {status.name.lower(): survey.counts[status] for status in Status if survey.counts[status]},
        "newest_page": survey.sequence,
        "damaged_pages": found.damaged_pages,
        "pending_batches": len(found.stored),
        "pending_samples": sum(stored.samples for stored in found.stored),
        "epochs": _epochs(view),
        "gaps": [{**gap._asdict(), "epoch": gap.epoch.hex()} for gap in found.gaps],
        "schemas": sorted(name.hex() for name in view.schemas),
    }


def _epochs(view: View) -> dict[str, dict[str, int]]:
    """Pending batches of each run of the agent."""
    epochs: dict[str, dict[str, int]] = {}
    for stored in view.survivors.stored:
        epoch, seq = stored.key.epoch.hex(), stored.key.seq
        counts = epochs.setdefault(epoch, {"batches": 0, "samples": 0, "first_seq": seq, "last_seq": seq})
        counts["batches"] += 1
        counts["samples"] += stored.samples
        counts["last_seq"] = seq
    return epochs


def _print(document: dict[str, Any]) -> None:
    for name, value in document.items():
        if name == "epochs":
            for epoch, counts in value.items():
                print(f"{'epoch':16} {epoch}: {', '.join(f'{key} {count}' for key, count in counts.items())}")
        elif name == "gaps":
            for gap in value:
                print(f"{'gap':16} {', '.join(f'{key} {fact}' for key, fact in gap.items())}")
        else:
            print(f"{name:16} {_in_words(value)}")


def _in_words(value: Any) -> str:
    """A count, counts by name, or names."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
    return " ".join(value) or "none" if isinstance(value, list) else str(value)


def _export(view: View, folder: Path, *, as_json: bool) -> int:
    """One file for each batch, as the agent would send it, and each schema: what `fieldtap decode` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [_write(folder / f"schema-{name.hex()}.msgpack", payload) for name, payload in view.schemas.items()]
    book = SchemaBook.of_readable(view.schemas.values())
    troubles = []
    for batch in view.pending():
        stem = f"batch-{batch.key.epoch.hex()}-{batch.key.seq:010}"
        try:
            names.append(_write(folder / f"{stem}.msgpack", _message(batch, book)))
        except (FormatError, ValueError) as error:  # nothing that is readable is held back
            troubles.append(f"{_named(batch.key)} is left as it is stored: {error}")
            names += [_write(folder / f"{stem}-{i:04}.msgpack", part) for i, part in enumerate(batch.payloads)]
    troubles += [f"{_named(key)} is damaged" for key in view.damaged]
    for trouble in troubles:
        print(f"fieldtap: {trouble}", file=sys.stderr)
    print(json.dumps({"files": names}) if as_json else "\n".join(names))
    return ExitCode.FAILURE if troubles else ExitCode.OK


def _message(batch: Pending, book: SchemaBook) -> bytes:
    """Raises FormatError, ValueError: its fragments do not fit each other, or their schema is lost."""
    return mark_historical(batch.payloads[0] if len(batch.payloads) == 1 else merge(batch.payloads, book))


def _named(key: BatchKey) -> str:
    return f"batch {key.epoch.hex()}/{key.seq}"


def _write(path: Path, payload: bytes) -> str:
    path.write_bytes(payload)
    return str(path)
