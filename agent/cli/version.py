"""What this installation is, on stdout; imports next to nothing, so that scripts may ask often."""

import argparse
import sys

from agent import __version__
from agent.errors import ExitCode

LICENCE = "Apache-2.0"
SUPPORT_END = "2031-12-31"  # security fixes for this release line until then


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `fieldtap version`."""
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    build = _build()
    if args.json:
        import json  # noqa: PLC0415 # only this form pays for it

        document = {"version": __version__, "build": build, "licence": LICENCE, "support_end": SUPPORT_END}
        print(json.dumps(document))
    else:
        print(f"fieldtap {__version__} ({', '.join(build.values())})")
        print(f"licence {LICENCE}, security fixes until {SUPPORT_END}")
    return ExitCode.OK


def _build() -> dict[str, str]:
    python = f"{sys.implementation.name} {sys.version.split()[0]}"
    try:
        from agent._native import flavour  # noqa: PLC0415 # says so when nothing was compiled
    except ImportError:
        return {"flavour": "not compiled", "python": python}
    abi = "abi3" if ".abi3." in flavour.__file__ else sys.implementation.cache_tag
    return {"flavour": flavour.FLAVOUR, "compiler": flavour.COMPILER, "abi": abi or "", "python": python}
