"""How late the polls of a 100 ms period come beside a burning Python thread, fieldtap and pymodbus; prints a table.

    python -m benchmarks.punctuality [--quick]

The device notes when each request comes. Lateness counts from the grid of 100 ms on which the earliest of a round lies;
rounds are interleaved, every peer has a device and a pty of its own, and the two run on different CPUs.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time

from benchmarks.acquisition import BUILT, ROOT, ask, reply, running

PEERS = ("fieldtap", "pymodbus")
PERIOD_US = 100_000
ROUNDS, ROUND_S = 4, 5.0
QUICK_ROUNDS, QUICK_S = 1, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round: does it work at all")
    rounds, seconds = (QUICK_ROUNDS, QUICK_S) if parser.parse_args().quick else (ROUNDS, ROUND_S)
    subprocess.run(["make", "-s", "-C", str(ROOT / "benchmarks/peers")], check=True)
    lates: dict[str, list[float]] = {peer: [] for peer in PEERS}
    for _ in range(rounds):
        for peer in PEERS:
            lates[peer] += lateness_us(arrivals_us(peer, seconds))
    show(lates)


def arrivals_us(peer: str, seconds: float) -> list[int]:
    """When the device got the requests of one round."""
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(running([str(BUILT / "device"), "1", "0"], cpu=-2))
        command = [sys.executable, "-m", "benchmarks.peers.clockwork", peer, reply(device)]
        master = stack.enter_context(running(command, cpu=-1))
        reply(master)
        assert master.stdin is not None
        print(file=master.stdin, flush=True)
        time.sleep(seconds)
        print(file=master.stdin, flush=True)
        return [int(time_us) for time_us in ask(device, "").split()[3:]]


def lateness_us(arrivals: list[int]) -> list[float]:
    """Against the grid that starts at the first poll, moved so that the most punctual poll is on time."""
    off = [(arrival - arrivals[0] + PERIOD_US // 2) % PERIOD_US - PERIOD_US // 2 for arrival in arrivals]
    return [each - min(off) for each in off]


def show(lates: dict[str, list[float]]) -> None:
    print(f"{'a poll every 100 ms, a Python thread burns':44}{'polls':>8}{'p50 us':>10}{'p99 us':>10}{'most us':>10}")
    for peer, late in lates.items():
        cuts = statistics.quantiles(late, n=100)
        print(f"  {peer:42}{len(late):8}{cuts[49]:10.0f}{cuts[98]:10.0f}{max(late):10.0f}")
    ratio = statistics.median(lates["pymodbus"]) / max(1.0, statistics.median(lates["fieldtap"]))
    print(f"  pymodbus is {ratio:.0f}x later")


if __name__ == "__main__":
    main()
