"""A configuration's path in, every mistake or the bus plan out; exit code 0 or 78."""

import argparse
import json
import sys
from typing import Any

from agent.acquire.admission import overloads
from agent.acquire.plan import BlockInfo, BusPlan, Plan, compile_plan
from agent.config import check_config
from agent.config.model import Bus, Config
from agent.config.report import Remark
from agent.errors import ExitCode
from agent.model import NS_PER_MS, NS_PER_S

COLUMNS = ("device", "reads", "every", "tags", "on the wire", "takes about")


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `fieldtap check`."""
    parser.add_argument("config", metavar="CONFIG", help="the configuration; conf.d/*.toml beside it belongs to it")
    parser.add_argument("--json", action="store_true", help="one JSON document with mistakes, warnings and plan")


def run(args: argparse.Namespace) -> int:
    """Check, and say what was found."""
    checked = check_config(args.config)
    plan = compile_plan(checked.config) if checked.config else None
    warnings = [*checked.warnings, *(overloads(plan) if plan else ())]
    if args.json:
        print(json.dumps(_document(checked.config, plan, checked.mistakes, warnings), allow_nan=False))
    else:
        _talk(checked.mistakes, warnings)
        _print_plan(checked.config, plan)
    return ExitCode.OK if plan else ExitCode.CONFIG


def _talk(mistakes: list[Remark], warnings: list[Remark | str]) -> None:
    lines = [*map(str, mistakes), *(f"warning: {warning}" for warning in warnings)]
    if mistakes:
        lines.append(f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}")
    for line in lines:
        print(line, file=sys.stderr)


def _print_plan(config: Config | None, plan: Plan | None) -> None:
    if config is None or plan is None:
        return
    for settings, bus in zip(config.buses, plan.buses, strict=True):
        print(f"bus {bus.name}: {_line(settings)}")
        rows = [COLUMNS, *map(_row, bus.block_info)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(
            f"  {len(bus.block_info)} requests per cycle, {_requests_per_s(bus):.4g} requests/s, "
            f"{100 * bus.utilisation:.1f} % utilisation, {bus.samples_per_s:.4g} samples/s"
        )
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


def _line(bus: Bus) -> str:
    if bus.protocol == "modbus-tcp":
        return f"{bus.protocol} {bus.port}"
    return f"{bus.protocol} {bus.port} {bus.baud} 8{bus.parity}{bus.stop_bits}"


def _row(info: BlockInfo) -> tuple[str, ...]:
    return (
        info.device,
        f"{info.table}:{info.address} x {info.quantity}",
        f"{info.period_ns / NS_PER_S:g} s",
        str(info.tags),
        f"{info.wire_ns / NS_PER_MS:.3f} ms",
        f"{info.transaction_ns / NS_PER_MS:.1f} ms",
    )


def _requests_per_s(bus: BusPlan) -> float:
    return sum(NS_PER_S / info.period_ns for info in bus.block_info)


def _document(
    config: Config | None, plan: Plan | None, mistakes: list[Remark], warnings: list[Remark | str]
) -> dict[str, Any]:
    return {
        "valid": plan is not None,
        "mistakes": [_remark(mistake) for mistake in mistakes],
        "warnings": [_remark(warning) for warning in warnings],
        "gateway": config.gateway.id if config else None,
        "store_writes_when_healthy": writes_when_healthy(config) if config else None,
        "buses": [_bus(bus) for bus in plan.buses] if plan else [],
    }


def _remark(remark: Remark | str) -> dict[str, Any]:
    if isinstance(remark, str):
        return {"message": remark}
    file, line, column = remark.place
    return {"file": file, "line": line, "column": column, "message": remark.message}


def _bus(bus: BusPlan) -> dict[str, Any]:
    return {
        "name": bus.name,
        "requests_per_cycle": len(bus.block_info),
        "requests_per_s": _requests_per_s(bus),
        "utilisation": bus.utilisation,
        "samples_per_s": bus.samples_per_s,
        "requests": [_request(info) for info in bus.block_info],
    }


def _request(info: BlockInfo) -> dict[str, Any]:
    return {
        "device": info.device,
        "table": info.table,
        "address": info.address,
        "quantity": info.quantity,
        "tags": info.tags,
        "every_s": info.period_ns / NS_PER_S,
        "wire_ms": info.wire_ns / NS_PER_MS,
        "takes_ms": info.transaction_ns / NS_PER_MS,
    }
