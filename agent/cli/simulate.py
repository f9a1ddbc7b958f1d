"""`fieldtap simulate CONFIG`: plays every device of a configuration until it is stopped, then says what it heard."""

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from agent.config import load_config
from agent.errors import ExitCode
from agent.simulate.simulator import Simulator


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", metavar="CONFIG", help="the configuration whose devices it plays")
    parser.add_argument("--link", metavar="DIR", type=Path, help="link each serial bus as DIR/BUS")
    parser.add_argument("--pace", action="store_true", help="answer at the speed of the baud rate")
    parser.add_argument(
        "--fault",
        metavar="SPEC",
        action="append",
        default=[],
        help="drop:P crc:P truncate:P glitch:P babble:P wrong-unit:P late:P:MS exception:P:CODE dead:UNIT "
        "deaf:US echo; P is a probability, BUS= before it limits it to one bus",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other moments for the faults (default 0)")
    parser.add_argument("--json", action="store_true", help="JSON lines: a bus each, at the end the summary")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="write the summary there as JSON on exit")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, which ends it as Ctrl-C ends every command."""
    config = load_config(args.config)
    simulator = Simulator(config, link_dir=args.link, pace=args.pace, faults=args.fault, seed=args.seed)
    for conflict in simulator.conflicts:
        print(f"{conflict}: another tag has its registers, its values cannot be checked", file=sys.stderr)
    simulator.start()
    signals: list[int] = []
    try:
        _stop_on_signals(simulator, signals)
        _tell_paths(simulator.paths, as_json=args.json)
        _tell_plain(simulator)
        simulator.wait()
    finally:
        simulator.stop()
    _tell_summary(simulator.stats(), args.summary, as_json=args.json)
    return ExitCode.INTERRUPTED if signal.SIGINT in signals[:1] else ExitCode.OK


def _stop_on_signals(simulator: Simulator, signals: list[int]) -> None:
    """From now on SIGTERM and SIGINT stop it, and are noted in `signals`."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        simulator.interrupt()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _tell_paths(paths: dict[str, str], *, as_json: bool) -> None:
    for bus, path in paths.items():
        print(json.dumps({"bus": bus, "path": path}) if as_json else f"{bus} {path}", flush=True)


def _tell_plain(simulator: Simulator) -> None:
    for bus in simulator.plain:
        path = simulator.paths[bus]
        print(f"{bus}: TLS is not simulated, {path} is plain Modbus TCP: read it there as tcp://", file=sys.stderr)


def _tell_summary(stats: dict[str, dict[str, Any]], file: Path | None, *, as_json: bool) -> None:
    if file is not None:
        file.write_text(json.dumps({"buses": stats}, indent=2) + "\n")
    if as_json:
        print(json.dumps({"buses": stats}), flush=True)
        return
    for bus, counted in stats.items():
        print(f"{bus}: {_in_words(counted)}", flush=True)


def _in_words(counted: dict[str, Any]) -> str:
    faults = ", ".join(f"{kind} {times}" for kind, times in counted["faults"].items() if times)
    return (
        f"{counted['requests']} requests, {counted['answered']} answered, {counted['values']} values, "
        f"{counted['gap_violations']} gap violations, faults: {faults or 'none'}"
    )
