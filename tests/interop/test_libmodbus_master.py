"""libmodbus as an independent master against our simulator; the client is built here from libmodbus_master.c."""

import shutil
import struct
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent.simulate.signal import is_right

S = 1_000_000_000
UNIT = 17
SOURCE = Path(__file__).with_name("libmodbus_master.c")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The path of the compiled client."""
    if not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("this machine has no libmodbus")
    program = tmp_path_factory.mktemp("libmodbus") / "master"
    compiler = shutil.which("cc")
    subprocess.run([compiler, "-I/usr/include/modbus", SOURCE, "-lmodbus", "-o", program], check=True)
    return program


def test_libmodbus_reads_and_writes_all_it_can(client, simulated, tag):
    url = urlsplit(simulated)
    where = [url.hostname, str(url.port)] if url.scheme else [simulated]
    run = subprocess.run([client, *where, str(UNIT)], capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    first, *lines = run.stdout.splitlines()
    name, count, high, low = first.split()
    assert (name, count) == ("float", "2")
    assert is_right(tag, UNIT, int.from_bytes(struct.pack(">HH", int(high), int(low))), time.time_ns(), 5 * S)
    assert lines == [
        "inputs 125",
        "coils 2000",
        "discretes 9",
        "outside -1 Illegal data address",
        "write_register 1",
        "write_registers 3",
        "read_registers 4 99 4711 0 65535",
        "mask 1",
        "both 5 108 4711 0 65535 7",
        "write_bit 1",
        "write_bits 11",
        "read_bits 12 110011101001",
        "report_slave_id 9 fieldtap ff",
    ]
