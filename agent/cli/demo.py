"""`fieldtap demo`: a simulated bus, the agent, a broker and a receiver on this machine, and a verdict at the end."""

import argparse
import signal
import sys

from agent.cli.words import seconds
from agent.errors import ExitCode, UsageError

DURATION_S = 15
LEAST_S = 1.0  # the agent must have started before it is asked to stop


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--duration", type=seconds, default=DURATION_S, metavar="S", help="how long, in seconds (default %(default)s)"
    )
    parser.add_argument("--fault", action="append", default=[], metavar="SPEC", help="a fault of `fieldtap simulate`")
    parser.add_argument("--json", action="store_true", help="the summary document as the last line of stdout")


def run(args: argparse.Namespace) -> int:
    """Run it; exit 0 when values came, and every kept sample arrived once and right."""
    from agent import summary
    from agent.simulate.demo import Demo

    if args.duration < LEAST_S:
        raise UsageError(f"--duration {args.duration:g}: at least {LEAST_S:g}, or there is nothing to be seen")
    talk = sys.stderr if args.json else sys.stdout
    demo = Demo(args.duration, args.fault, talk)
    document = demo.run()
    if args.json:
        print(summary.as_json(document))
    if demo.stopped_by == signal.SIGINT:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILURE if document["received"]["failures"] else ExitCode.OK
