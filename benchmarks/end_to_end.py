"""From device to broker: processor share at 8 units x 10 registers x 10 Hz, beside pymodbus + paho in the same run.

Both peers poll the same simulated, unpaced bus one after the other, several rounds; the smallest share counts.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent.simulate.broker import Broker
from benchmarks import rig

UNITS, REGISTERS, RATE_HZ = 8, 10, 10
ROUNDS, ROUND_S, QUICK_S = 12, 10.0, 3.0
FLAT_OUT_UNITS, FLAT_OUT_REGISTERS = 4, 125
PEER = Path(__file__).parent / "peers" / "pymodbus_paho.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round: does it work at all")
    args = parser.parse_args()
    rounds_wanted, seconds = (1, QUICK_S) if args.quick else (ROUNDS, ROUND_S)
    with tempfile.TemporaryDirectory(prefix="fieldtap-bench-") as name, Broker() as broker:
        folder = Path(name)
        links = folder / "bus"
        config = rig.run_config(
            folder, links / "line", broker.url, units=UNITS, registers=REGISTERS, every="100ms", batch_s=1.0
        )
        with rig.simulator(config, links):
            rounds = [(ours(config, seconds), peer(links / "line", broker.port, seconds)) for _ in range(rounds_wanted)]
        flat = flat_out(folder, broker.url, seconds)
    report(rounds, seconds)
    print(f"  a bare wake-up here     {rig.wake_up_us():7.1f} us; {2 * UNITS * RATE_HZ}/s are needed, two a request")
    print(f"  flat out over TCP       {flat['samples_kept'] / flat['duration_s']:9,.0f} samples/s,", end=" ")
    print(f"{flat['samples_kept'] / flat['cpu_s']:,.0f} per second of processor time")


def ours(config: Path, seconds: float) -> dict[str, float]:
    """One run of the agent: share of a core after start-up, samples delivered."""
    summary = config.parent / "summary.json"
    command = [*rig.FIELDTAP, "run", str(config), "--duration", str(seconds), "--summary", str(summary)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    share = steady_share(child, seconds)
    document = json.loads(summary.read_text())
    return {
        "share": share,
        "delivered": document["samples_kept"] if document["store"]["pending_batches"] == 0 else 0.0,
        "seconds": document["duration_s"],
        "rss": document["rss_bytes"],
        "bytes": document["bytes_sent"],
    }


def flat_out(folder: Path, broker_url: str, seconds: float) -> dict[str, float]:
    """The summary of a run without a serial line's limits: full reads, a thousand a second from each device."""
    shape = {"units": FLAT_OUT_UNITS, "registers": FLAT_OUT_REGISTERS, "every": "1ms", "batch_s": 1.0}
    with rig.free_port() as port:
        config = rig.run_config(folder, f"tcp://127.0.0.1:{port}", broker_url, **shape)
    summary = folder / "flat.json"
    command = [*rig.FIELDTAP, "run", str(config), "--duration", str(seconds), "--summary", str(summary)]
    with rig.simulator(config, folder / "tcp"):
        subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    return dict(json.loads(summary.read_text()))


def peer(port: Path, broker_port: int, seconds: float) -> dict[str, float]:
    """One run of pymodbus + paho on the same bus."""
    command = [sys.executable, str(PEER), str(port), *map(str, (broker_port, UNITS, REGISTERS, 1 / RATE_HZ, seconds))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    share = steady_share(child, seconds)
    assert child.stdout is not None
    return {"share": share, "delivered": float(child.stdout.read()), "seconds": seconds}


def steady_share(child: "subprocess.Popen[str] | subprocess.Popen[bytes]", seconds: float) -> float:
    """Share of a core between the first fifth and the last moment of a run, start-up left out."""
    time.sleep(seconds / 5)
    first_s, cpu_first_s = time.monotonic(), rig.cpu_of(child.pid)
    time.sleep(seconds * 3 / 5)
    share = (rig.cpu_of(child.pid) - cpu_first_s) / (time.monotonic() - first_s)
    child.wait(seconds + rig.STOP_S)
    return share


def report(rounds: list[tuple[dict[str, float], dict[str, float]]], seconds: float) -> None:
    """The table."""
    asked = UNITS * REGISTERS * RATE_HZ
    ours_share = min(mine["share"] for mine, _ in rounds)
    peer_share = min(theirs["share"] for _, theirs in rounds)
    rate = min(mine["delivered"] / mine["seconds"] for mine, _ in rounds)
    print(f"end to end: {UNITS} units x {REGISTERS} registers x {RATE_HZ} Hz, {len(rounds)} rounds of {seconds:g} s")
    print(f"  fieldtap, 1 s batches   {ours_share:7.3%} of a core   {rate:.0f} of {asked} samples/s acknowledged")
    print(f"  pymodbus + paho, JSON   {peer_share:7.3%} of a core   ratio {peer_share / ours_share:.1f}x")
    print(f"  resident memory         {rounds[0][0]['rss'] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
