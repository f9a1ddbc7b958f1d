"""Every number of the README, one table after the other: `python -m benchmarks [--quick] [NAME ...]`."""

import argparse
import subprocess
import sys

TABLES = {
    "acquisition": "time per transaction, use of paced lines; beside libmodbus, pymodbus, minimalmodbus",
    "tcp": "Modbus TCP with 1, 4 and 16 requests under way; beside libmodbus and pymodbus",
    "punctuality": "lateness of a poll every 100 ms beside a burning thread; beside pymodbus",
    "late_answers": "answers taken for the next one's; beside libmodbus, pymodbus, minimalmodbus",
    "batch_sizes": "bytes per sample and encoding time; beside JSON, msgpack rows and Sparkplug B",
    "store": "commits, write amplification, restart with a full journal",
    "simulator": "time per transaction beside pymodbus's server",
    "uplink": "share of a core by messages per second",
    "end_to_end": "from device to broker, beside pymodbus + paho",
    "footprint": "start, memory",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which tables of {', '.join(TABLES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few short rounds: does it work at all")
    args = parser.parse_args()
    if unknown := set(args.names) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}: choose from {', '.join(TABLES)}")
    codes = [table(name, quick=args.quick) for name in args.names or TABLES]
    return max(codes)


def table(name: str, *, quick: bool) -> int:
    """One table in a process of its own, so that none warms the other's caches or carries its memory."""
    print(f"\n== {name}: {TABLES[name]}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
