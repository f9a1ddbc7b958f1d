"""A configuration's path in, every mistake or the bus plan out; exit code 0 or 78."""

import argparse
import json
import sys
from typing import Any

from agent.acquire.admission import overloads
from agent.acquire.plan import Plan, compile_plan
from agent.cli import planview
from agent.cli.words import counted
from agent.config import check_config
from agent.config.model import Config
from agent.config.report import Remark, Report
from agent.devices.catalogue import read_device_map
from agent.devices.lint import is_device_map, lint
from agent.errors import ExitCode


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `fieldtap check`."""
    parser.add_argument(
        "config", metavar="CONFIG", help="the configuration, conf.d/*.toml beside it belongs to it; or a device map"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document with mistakes, warnings and plan")


def run(args: argparse.Namespace) -> int:
    """Check, and say what was found."""
    if is_device_map(args.config):
        return _check_map(args.config, as_json=args.json)
    checked = check_config(args.config)
    plan = compile_plan(checked.config) if checked.config else None
    warnings = [*checked.warnings, *(overloads(checked.config, plan) if checked.config and plan else ())]
    if args.json:
        print(json.dumps(_document(checked.config, plan, checked.mistakes, warnings), allow_nan=False))
    else:
        _talk(checked.mistakes, warnings)
        _print_plan(checked.config, plan)
    return ExitCode.OK if plan else ExitCode.CONFIG


def _check_map(path: str, *, as_json: bool) -> int:
    remarks = lint(path)
    if as_json:
        print(json.dumps({"valid": not remarks, "mistakes": [_remark(remark) for remark in remarks]}))
    else:
        _talk(remarks, [])
        if not remarks:
            print(_good_map(path))
    return ExitCode.CONFIG if remarks else ExitCode.OK


def _good_map(path: str) -> str:
    """A good map by its title, so that somebody who checks one sees that it was read."""
    found = read_device_map(path, Report())
    return f"{found.title}: {counted(len(found.device.tags), 'tag')}, nothing to remark" if found else ""


def _talk(mistakes: list[Remark], warnings: list[Remark | str]) -> None:
    lines = [*map(str, mistakes), *(f"warning: {warning}" for warning in warnings)]
    if mistakes:
        lines.append(counted(len(mistakes), "mistake"))
    for line in lines:
        print(line, file=sys.stderr)


def _print_plan(config: Config | None, plan: Plan | None) -> None:
    if config is None or plan is None:
        return
    for settings, bus in zip(config.buses, plan.buses, strict=True):
        print(planview.table(settings, bus))
    print(_uplink(config))
    print(f"store: {config.store.path}, {_writes(config)}")


def _uplink(config: Config) -> str:
    if config.mqtt is None:
        return "mqtt: none, samples stay in the store"
    mqtt = config.mqtt
    return f"mqtt: {config.gateway.id} to {mqtt.url}, a batch every {mqtt.batch_s:g} s as {mqtt.format}"


def _writes(config: Config) -> str:
    """What the flash has to bear."""
    window_s = config.store.loss_window_s
    if config.mqtt is None:
        return f"written every {window_s:g} s"
    if writes_when_healthy(config):
        return f"written every {window_s:g} s, because batch_s is longer than that (loss_window_s)"
    return f"written when the broker has not acknowledged within {window_s:g} s"


def writes_when_healthy(config: Config) -> bool:
    """Whether an open batch outgrows the loss window, so that the store is needed although the broker is there."""
    return config.mqtt is None or config.mqtt.batch_s > config.store.loss_window_s


def _document(
    config: Config | None, plan: Plan | None, mistakes: list[Remark], warnings: list[Remark | str]
) -> dict[str, Any]:
    return {
        "valid": plan is not None,
        "mistakes": [_remark(mistake) for mistake in mistakes],
        "warnings": [_remark(warning) for warning in warnings],
        "gateway": config.gateway.id if config else None,
        "store_writes_when_healthy": writes_when_healthy(config) if config else None,
        "buses": [planview.document(bus) for bus in plan.buses] if plan else [],
    }


def _remark(remark: Remark | str) -> dict[str, Any]:
    if isinstance(remark, str):
        return {"message": remark}
    file, line, column = remark.place
    return {"file": file, "line": line, "column": column, "message": remark.message}
