"""From devices behind every kind of line to the subscriber, with faults: no value is a wrong one."""

import socket

import pytest

FAULTS = ("late:0.05:250", "drop:0.03", "crc:0.1", "truncate:0.02", "wrong-unit:0.02", "exception:0.02:4")
ASCII = 'protocol = "modbus-ascii"'
WAYS = ["udp", "rtu+udp", "ascii+tcp"]


def free(scheme):
    """A port in the network that nobody has."""
    kind = socket.SOCK_DGRAM if scheme.endswith("udp") else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"{scheme}://127.0.0.1:{probe.getsockname()[1]}"


def judged(site, samples):
    agent = site.start_agent()
    site.run_for_samples(samples)
    summary = site.stop_agent(agent)
    received = site.received(summary["samples_kept"])
    assert (received["wrong_values"], received["missing"], received["duplicates"]) == (0, 0, 0)
    return summary["buses"]["line"]


@pytest.mark.parametrize("line", [ASCII, f"{ASCII}\ndata_bits = 8"], ids=["7 bits", "8 bits"])
def test_a_line_of_ascii(plant, line):
    counts = judged(plant(line=line, faults=FAULTS), 200)
    assert counts["crc_errors"] > 0
    assert counts["stale_discarded"] > 0


@pytest.mark.parametrize("way", WAYS)
def test_a_port_in_the_network(plant, way):
    counts = judged(plant(port=free(way), faults=FAULTS), 200)
    assert counts["ok"] > 0
    assert counts["timeouts"] > 0
