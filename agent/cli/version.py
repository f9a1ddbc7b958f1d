"""What this installation is, on stdout; imports next to nothing, so that scripts may ask often."""

import argparse
import os
import sys

import agent
from agent.errors import ExitCode

LICENCE = "Apache-2.0"
SUPPORT_END = "2031-12-31"  # security fixes for this release line until then
MARK = b"@(#)fieldtap "  # _native/flavour.pyx


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `fieldtap version`."""
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    build = _build()
    if args.json:
        import json  # only this form pays for it

        document = {"version": agent.__version__, "build": build, "licence": LICENCE, "support_end": SUPPORT_END}
        print(json.dumps(document))
    else:
        print(f"fieldtap {agent.__version__} ({', '.join(build.values())})")
        print(f"licence {LICENCE}, security fixes until {SUPPORT_END}")
    return ExitCode.OK


def _build() -> dict[str, str]:
    python = f"{sys.implementation.name} {sys.version.split()[0]}"
    folder = os.path.join(os.path.dirname(agent.__file__), "_native")  # noqa: PTH118, PTH120 # pathlib takes 8 ms
    for name in os.listdir(folder) if os.path.isdir(folder) else ():  # noqa: PTH112, PTH208
        if name.startswith("flavour.") and name.endswith(".so"):
            flavour, compiler = _built_as(os.path.join(folder, name))  # noqa: PTH118
            return {"flavour": flavour, "compiler": compiler, "abi": name.split(".")[1], "python": python}
    return {"flavour": "not compiled", "python": python}


def _built_as(path: str) -> tuple[str, str]:
    """The mark in the compiled file."""
    with open(path, "rb") as file:  # noqa: PTH123
        content = file.read()
    start = content.index(MARK) + len(MARK)
    flavour, _, compiler = content[start : content.index(b"\0", start)].decode().partition(", ")
    return flavour, compiler.strip()
