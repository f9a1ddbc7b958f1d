"""`fieldtap run CONFIG`: the agent itself, until a signal or `--duration` ends it."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.files import expect_to_save, save
from agent.cli.words import seconds
from agent.errors import ExitCode, StoreError
from agent.model import NS_PER_S

if TYPE_CHECKING:
    from agent.run import Gateway


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("--duration", type=seconds, metavar="S", help="stop after S seconds")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the summary document here on exit")
    parser.add_argument("--json", action="store_true", help="print the summary document on stdout at the end")
    parser.add_argument(
        "--pcap", type=Path, metavar="FILE", help="write the last frames of every bus here on exit, and on each SIGUSR1"
    )
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-v", "--verbose", action="store_true", help="log more")
    talk.add_argument("-q", "--quiet", action="store_true", help="log warnings and errors only")


def run(args: argparse.Namespace) -> int:
    """Load, wire, work; the exit code says how it ended."""
    from msgspec.structs import replace

    from agent import summary
    from agent.acquire.admission import overloads
    from agent.acquire.memory import Memory
    from agent.acquire.places import placed
    from agent.acquire.plan import compile_plan
    from agent.config import load_config
    from agent.run import Gateway, StopSignal

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if args.verbose else logging.WARNING if args.quiet else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    if args.summary:
        expect_to_save(args.summary, "the summary")
    config = load_config(str(args.config))
    memory = Memory(config.store.path)
    config = replace(config, buses=placed(config.buses, memory.places(config.buses)))
    plan = compile_plan(config, memory.recall(config.buses))
    for warning in (*config.warnings, *overloads(config, plan)):
        logging.getLogger("fieldtap").warning("%s", warning)
    with StopSignal() as stop:
        gateway = Gateway(config, plan, memory)
        if args.pcap:
            signal.signal(signal.SIGUSR1, lambda *_: _save_if_possible(args.pcap, gateway))
        gateway.run(stop, None if args.duration is None else int(args.duration * NS_PER_S))
    document = summary.as_json(gateway.summary())
    if args.summary:
        save(args.summary, f"{document}\n".encode(), "the summary")
    if args.json:
        print(document)
    if args.pcap:
        save(args.pcap, gateway.capture(), "the capture")
    if gateway.lost:
        return ExitCode.IO_ERROR
    return ExitCode.INTERRUPTED if stop.raised == signal.SIGINT else ExitCode.OK


def _save_if_possible(path: Path, gateway: "Gateway") -> None:
    """On a signal: an agent does not end for a capture that cannot be written."""
    try:
        save(path, gateway.capture(), "the capture")
    except StoreError as error:
        logging.getLogger("fieldtap").warning("%s", error)
