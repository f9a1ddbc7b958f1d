"""The last frames of a running agent, as another program reads them."""

import collections
import signal
import subprocess

LOOP_BACK = "8"  # which the agent sends when the simulator was late on a busy machine


def dissected(path):
    """(function, exception, malformed) of each frame as tshark sees it, with how often it came."""
    fields = ["-e", "modbus.func_code", "-e", "modbus.exception_code", "-e", "_ws.malformed"]
    command = ["tshark", "-r", path, "-d", "rtacser.data,mbrtu", "-T", "fields", "-E", "separator=|", *fields]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return collections.Counter(tuple(line.split("|")) for line in done.stdout.splitlines())


def test_a_signal_and_the_end_write_the_last_frames_for_wireshark(plant):
    plant = plant()
    capture = plant.folder / "bus.pcapng"
    agent = plant.start_agent("--pcap", str(capture))
    plant.run_for_samples(300)
    agent.send_signal(signal.SIGUSR1)
    plant.until(capture.exists)
    while_running = dissected(capture)
    loop_backs = plant.stop_agent(agent)["buses"]["line"]["barriers"]
    at_the_end = dissected(capture)
    for frames in (while_running, at_the_end):
        functions = {function for function, *_ in frames}
        assert functions - {LOOP_BACK} == {"1", "3", "4"}, frames
        assert loop_backs or LOOP_BACK not in functions
        assert {said for _, *marks in frames for said in marks} == {""}, frames
        assert sum(frames.values()) > 100


def test_a_capture_that_cannot_be_written_ends_no_agent(plant):
    plant = plant()
    agent = plant.start_agent("--pcap", "/proc/no-such-folder/bus.pcapng")
    plant.run_for_samples(100)
    agent.send_signal(signal.SIGUSR1)
    plant.until(lambda: "/proc/no-such-folder/bus.pcapng: cannot write the capture" in plant.log())
    plant.run_for_samples(100)
