"""`fieldtap demo`: a simulated bus, the agent, a broker and a receiver on this machine, and a verdict at the end."""

import argparse
import sys

from agent.errors import ExitCode

DURATION_S = 15.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--duration", type=float, default=DURATION_S, metavar="S", help="how long (default %(default)s)"
    )
    parser.add_argument("--fault", action="append", default=[], metavar="SPEC", help="a fault of `fieldtap simulate`")
    parser.add_argument("--json", action="store_true", help="the summary document as the last line of stdout")


def run(args: argparse.Namespace) -> int:
    """Run it; exit 0 when every kept sample arrived once and right."""
    from agent import summary
    from agent.simulate.demo import Demo

    talk = sys.stderr if args.json else sys.stdout
    document = Demo(args.duration, args.fault, talk).run()
    if args.json:
        print(summary.as_json(document))
    received = document["received"]
    return ExitCode.FAILURE if received["missing"] or received["wrong_values"] else ExitCode.OK
