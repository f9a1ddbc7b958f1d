"""How small: time of `fieldtap version`, time to the first request, memory with 10 devices x 20 tags.

Run as a command; prints a table. Python's own start is measured beside ours, since it is the floor.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent.simulate.broker import Broker
from benchmarks import rig

ROUNDS = 12
RUN_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work at all")
    rounds = 2 if parser.parse_args().quick else ROUNDS
    python = fastest([sys.executable, "-S", "-E", "-c", "pass"], rounds)
    version = fastest([*rig.FIELDTAP, "version"], rounds)
    print(f"footprint: minimum of {rounds} interleaved runs")
    print(f"  python -S -c pass       {python * 1e3:6.1f} ms")
    print(f"  fieldtap version        {version * 1e3:6.1f} ms")
    document = two_hundred_tags()
    print(
        f"  fieldtap run, 200 tags  {document['rss_bytes'] / 1e6:6.1f} MB resident, {document['samples_kept']} samples"
    )


def fastest(command: Sequence[str], rounds: int) -> float:
    """Seconds from exec to exit."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return min(times)


def two_hundred_tags() -> dict[str, float]:
    """The summary of a run over 10 devices x 20 tags at 10 Hz, delivered to a real broker."""
    with tempfile.TemporaryDirectory(prefix="fieldtap-bench-") as name, Broker() as broker:
        folder = Path(name)
        links = folder / "bus"
        config = rig.run_config(folder, links / "line", broker.url, units=10, registers=20, every="100ms", batch_s=1.0)
        summary = folder / "summary.json"
        with rig.simulator(config, links):
            subprocess.run(
                [*rig.FIELDTAP, "run", str(config), "--duration", str(RUN_S), "--summary", str(summary)],
                stderr=subprocess.DEVNULL,
                check=True,
            )
        return dict(json.loads(summary.read_text()))


if __name__ == "__main__":
    main()
