"""The words of the command line in, an exit code out; each command is one module, imported when it is the one.

A command's module has `configure(parser)`, which adds its arguments, and `run(args) -> int`, which does the work and
returns the exit code. To add a command, write the module and add its line to COMMANDS.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType

from agent.errors import ConfigError, ExitCode, FieldtapError

COMMANDS = {  # in the order of the help; the module is agent.cli.NAME
    "version": "version, build, licence and support end",
    "check": "report every mistake of a configuration, or print its bus plan",
    "run": "run the agent",
    "demo": "simulated bus, agent, broker and receiver in one, with a verdict",
    "simulate": "play every device of a configuration on ptys and loopback",
    "read": "read registers once",
    "write": "write a register once and read it back",
    "identify": "ask a device what it is, and name the device map that fits it",
    "store": "look into a store, also after a crash",
    "decode": "turn batches into JSON lines of samples",
}
SAY_MORE = "`fieldtap COMMAND --help` says more about one of them."
HELP = partial(argparse.HelpFormatter, width=100)  # to ask the terminal argparse imports shutil, for every command


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong becomes one line on stderr and the exit code of the contract."""
    try:
        code = _run(list(sys.argv[1:] if words is None else words))
        sys.stdout.flush()  # here, where a reader that has gone is still dealt with
    except (FieldtapError, OSError, KeyboardInterrupt) as error:
        return _told(error)
    return code


def _run(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        words[0] = "version"
    command = next((word for word in words if not word.startswith("-")), None)
    module = import_module(f"agent.cli.{command}") if command in COMMANDS else None
    parser = _parser(command, module)
    if command == "help":
        words.clear()
    elif command and module is None:
        parser.error(_unknown(command))
    args = parser.parse_args(words)
    if module is None:
        parser.print_help(sys.stderr)
        return ExitCode.USAGE
    code: int = module.run(args)
    return code


def _parser(command: str | None, module: ModuleType | None) -> argparse.ArgumentParser:
    """All commands by name; only the one that is wanted knows its arguments."""
    description = "Edge agent for Modbus and other serial devices."
    parser = argparse.ArgumentParser(prog="fieldtap", description=description, formatter_class=HELP, epilog=SAY_MORE)
    parser.add_argument("--version", action="store_true", help="the same as `fieldtap version`")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog=parser.prog)
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=summary, description=summary.capitalize() + ".", formatter_class=HELP
        )
        if module and name == command:
            module.configure(subparser)
    return parser


def _unknown(command: str) -> str:
    from agent.config.report import did_you_mean

    return f"there is no command {command!r}{did_you_mean(command, COMMANDS) or '; there are: ' + ', '.join(COMMANDS)}"


def _told(error: BaseException) -> int:
    """Say what went wrong and give its exit code."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return _reader_gone()
    print(error if isinstance(error, ConfigError) else f"fieldtap: {_words(error)}", file=sys.stderr)
    if isinstance(error, FieldtapError):
        return error.exit_code
    return ExitCode.PERMISSION if isinstance(error, PermissionError) else ExitCode.IO_ERROR


def _words(error: BaseException) -> str:
    """The system's errors name the file first and have no number; a refusal says what to do."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    remedy = "; run as a user who may, or change its mode" if isinstance(error, PermissionError) else ""
    return f"{error.filename}: {error.strerror}{remedy}" if error.filename else f"{error.strerror}{remedy}"


def _reader_gone() -> int:
    """`fieldtap ... | head` has what it wanted; the interpreter's last flush must not complain either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK
