"""SunSpec's model definitions in, device maps out: `python -m agent.devices.sunspec FOLDER NUMBER... --to MAPS`.

The definitions are the JSON files of the SunSpec Alliance under the Apache License 2.0, as in the PyPI package
pysunspec2, folder sunspec2/models/json. A map depends on nothing but its definition, so it can be made again.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

COMMON = 1
COMMON_START = 40_002  # behind "SunS" at the most usual of the three bases
NEXT_START = 40_070  # behind a common model of 66 registers
TYPES = {
    "uint16": "u16", "int16": "i16", "enum16": "u16", "bitfield16": "u16", "acc16": "u16",
    "uint32": "u32", "int32": "i32", "enum32": "u32", "bitfield32": "u32", "acc32": "u32",
    "uint64": "u64", "int64": "i64", "acc64": "u64", "float32": "f32", "float64": "f64",
}  # fmt: skip
NO_VALUE = ("sunssf", "pad")
UNITS = {"C": "°C", "Pct": "%", "% WChaMax/sec": "%/s", "Secs": "s", "AH": "Ah"}
QUANTITIES = {  # a point's name without its phase
    "A": "current", "PhV": "voltage", "PPV": "voltage", "W": "power", "VA": "apparent_power", "VAR": "reactive_power",
    "PF": "power_factor", "Hz": "frequency", "WH": "energy_total", "DCA": "dc_current", "DCV": "dc_voltage",
    "DCW": "dc_power", "TmpCab": "temperature_cabinet", "TmpSnk": "temperature_heat_sink",
    "TmpTrns": "temperature_transformer", "TmpOt": "temperature_other", "St": "state", "StVnd": "state_vendor",
    "Mn": "manufacturer", "Md": "model", "Opt": "options", "Vr": "version", "SN": "serial_number", "DA": "unit_address",
    "WChaMax": "charge_power_max", "WChaGra": "charge_ramp", "WDisChaGra": "discharge_ramp",
    "StorCtl_Mod": "storage_control", "VAChaMax": "charge_apparent_power_max", "MinRsvPct": "reserve_min",
    "ChaState": "state_of_charge", "StorAval": "storage_available", "InBatV": "battery_voltage",
    "ChaSt": "charge_state", "OutWRte": "discharge_rate", "InWRte": "charge_rate",
    "InOutWRte_WinTms": "rate_window", "InOutWRte_RvrtTms": "rate_revert_time", "InOutWRte_RmpTms": "rate_ramp_time",
    "ChaGriSet": "charge_from_grid",
}  # fmt: skip
LINES = {"A": "l1", "B": "l2", "C": "l3", "AB": "l1_l2", "BC": "l2_l3", "CA": "l3_l1"}
ENERGIES = {"Wh": "energy", "VAh": "apparent_energy", "VArh": "reactive_energy"}
DIRECTIONS = {"Imp": "import", "Exp": "export"}

_ENERGY = re.compile(r"Tot(Wh|VAh|VArh)(Imp|Exp)(Q\d)?(?:Ph([ABC]))?")
_EVENTS = re.compile(r"Evt(Vnd)?(\d?)")
_PHASED = re.compile(r"(.+?)ph([ABC]{1,2})")


class Placed(NamedTuple):
    """A point and where it stands, counted from the model's ID."""

    at: int
    point: dict[str, Any]


def map_of(model: dict[str, Any]) -> str:
    """The text of the device map of one model definition."""
    number, group = model["id"], model["group"]
    placed = _placed(group["points"])
    powers = {each.point["name"]: each.at for each in placed if each.point["type"] == "sunssf"}
    tags = [_tag(each, powers) for each in placed if each.point["type"] not in NO_VALUE and each.at > 1]
    lines = [
        "# Made by agent/devices/sunspec.py.",
        f"# Registers count from the model's ID, which is looked for; it usually stands at {_where(number)}",
        "schema = 1",
        f'title = "SunSpec model {number}, {_title(group)}"',
        f'source = "SunSpec Alliance, model definition {number} (Apache-2.0), as in pysunspec2 on PyPI"',
        f"sunspec = {number}",
        f"start = {COMMON_START if number == COMMON else NEXT_START}",
        'sentinels = "sunspec"',
        "",
        f'identity = [{{ register = "holding:0", type = "u16", values = [{number}] }}]',
        "",
        "tag = [",
        *(f"  {{ {', '.join(tag)} }}," for tag in tags),
        "]",
    ]
    if any('group = "energy"' in tag for tag in tags):
        lines += ["", "[group.energy]", 'every = "10 s"']
    return "\n".join(lines) + "\n"


def _where(number: int) -> str:
    return "40002, else at 2 or 50002." if number == COMMON else "40070 or 40069, behind the common model."


def _title(group: dict[str, Any]) -> str:
    label = str(group["label"])
    return label[:1].lower() + label[1:] if label[:2] != label[:2].upper() else label


def _placed(points: list[dict[str, Any]]) -> list[Placed]:
    placed, at = [], 0
    for point in points:
        placed.append(Placed(at, point))
        at += point["size"]
    return placed


def _tag(placed: Placed, powers: dict[str, int]) -> list[str]:
    """The keys of one tag."""
    at, point = placed
    kind = f"string:{2 * point['size']}" if point["type"] == "string" else TYPES[point["type"]]
    name = name_of(point["name"])
    keys = [f'name = "{name}"', f'register = "holding:{at}"', f'type = "{kind}"']
    if "sf" in point:
        keys.append(f'scale_register = "holding:{powers[point["sf"]]}"')
    if point["type"].startswith("acc"):
        keys.append("sentinel = 0")
    if point["type"] != "string":
        keys.append(f'unit = "{_unit(point)}"')
    if "energy" in name:
        keys.append('group = "energy"')
    if point.get("static") == "S":
        keys.append('every = "1 h"')
    return keys


def _unit(point: dict[str, Any]) -> str:
    written = str(point.get("units", "")).strip()
    return UNITS.get(written, "%" if written.startswith("%") else written)


def name_of(point: str) -> str:
    """A point's name in the scheme of the maps: `AphB` is current_l2, `TotWhExpPhC` energy_export_l3."""
    energy = _ENERGY.fullmatch(point)
    if energy:
        parts = [ENERGIES[energy[1]], DIRECTIONS[energy[2]], (energy[3] or "").lower(), LINES.get(energy[4], "")]
        return "_".join(part for part in parts if part)
    events = _EVENTS.fullmatch(point)
    if events:
        return "_".join(part for part in ("events", "vendor" if events[1] else "", events[2]) if part)
    phased = _PHASED.fullmatch(point)
    quantity, lines = (phased[1], f"_{LINES[phased[2]]}") if phased else (point, "")
    if not phased and quantity in ("PhV", "PPV"):  # of all phases
        return "voltage_average" if quantity == "PhV" else "voltage_average_ll"
    return QUANTITIES["VAR" if quantity == "VAr" else "PhV" if quantity == "P" else quantity] + lines


def main(words: list[str]) -> int:
    """Write the maps."""
    parser = argparse.ArgumentParser(prog="python -m agent.devices.sunspec")
    parser.add_argument("folder", type=Path, help="with model_NUMBER.json")
    parser.add_argument("number", type=int, nargs="+")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="where the maps go")
    args = parser.parse_args(words)
    for number in args.number:
        model = json.loads((args.folder / f"model_{number}.json").read_text())
        (args.to / f"sunspec-{number}.toml").write_text(map_of(model))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
