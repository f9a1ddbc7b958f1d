"""How long and with which faults in; the whole flow on this machine, and the summary document with a verdict, out.

    simulate ──pty──▶ run ──MQTT──▶ broker ──MQTT──▶ this process

Each box is a process of its own, started with the commands a user has; this one receives and judges.
Each is a process group of its own, too: Ctrl-C reaches this process alone, which ends the others in their order.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import IO, Any

import msgspec

from agent.config import load_config
from agent.config.model import Config
from agent.errors import FieldtapError
from agent.simulate.broker import Broker
from agent.simulate.faults import parse_fault
from agent.simulate.receiver import Receiver
from agent.simulate.screen import Screen
from agent.simulate.verdict import Verdict, simulated

COMMAND = [sys.executable, "-m", "agent"]
REFRESH_S = 1.0
POLL_S = 0.05  # how soon an agent that has died is noticed
START_TIMEOUT_S = 15.0  # until the agent's first message: small boards import for seconds
STOP_TIMEOUT_S = 8.0  # the agent promises 5
HASTE_S = 1.0  # the same after a signal: all must have ended within 5 s
INTERRUPTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last one: the terminal is closed
LAST_MESSAGES_S = 3.0  # from the broker's acknowledgement to our hands


class Stopped(KeyboardInterrupt):
    """A signal asks for the end; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Demo:
    """One demonstration in a folder of its own that is gone afterwards."""

    def __init__(self, duration_s: float, faults: Sequence[str], talk: IO[str]) -> None:
        """Raises UsageError for a fault that is none."""
        for spec in faults:
            parse_fault(spec)
        self.duration_s = duration_s
        self.faults = faults
        self.talk = talk
        self.stopped_by: int | None = None  # the signal that cut it short

    def run(self) -> dict[str, Any]:
        """Start everything, watch, stop in the order of the flow; return the summary document."""
        with ExitStack() as stack:
            stack.enter_context(interruptible())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fieldtap-demo-")))
            broker = stack.enter_context(Broker())
            config_path = write_config(folder, broker.url)
            stack.enter_context(simulator(config_path, folder / "bus", self.faults))
            receiver = stack.enter_context(Receiver(broker.url))
            config = load_config(str(config_path))
            verdict = Verdict(simulated(config))
            screen = Screen(self.talk, f"{broker.kind} on {broker.url}, bus on {folder / 'bus' / 'rs485'}")
            with agent(config_path, folder / "summary.json") as child:
                self._watch(child, receiver, verdict, screen)
            document = read_summary(folder / "summary.json")
            patience_s = HASTE_S if self.stopped_by else LAST_MESSAGES_S
            wait_for_the_rest(receiver, verdict, document["samples_kept"], patience_s)
        document["received"] = verdict.received(document["samples_kept"], devices_of(config))
        screen.end(document)
        return document

    def _watch(self, child: subprocess.Popen[bytes], receiver: Receiver, verdict: Verdict, screen: Screen) -> None:
        """For as long as was asked, counted from the agent's first message; SIGTERM and Ctrl-C end it early."""
        try:
            first_by = time.monotonic() + START_TIMEOUT_S
            while not take_one(receiver, verdict, POLL_S) and time.monotonic() < first_by:
                must_live(child)
            end = time.monotonic() + self.duration_s
            while (left := end - time.monotonic()) > 0:
                must_live(child)
                take_until(receiver, verdict, time.monotonic() + min(left, REFRESH_S))
                screen.show(verdict)
        except Stopped as stopped:
            if stopped.number == signal.SIGHUP:  # nobody is there to read a verdict
                raise
            self.stopped_by = stopped.number


@contextmanager
def interruptible() -> Iterator[None]:
    """Let each signal end the demonstration as Ctrl-C does; the first one only, for then all is being stopped."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for other in INTERRUPTS:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    before = {number: signal.signal(number, interrupt) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_config(folder: Path, url: str) -> Path:
    """The demo's configuration with this run's places in it."""
    text = files("agent.simulate").joinpath("demo.toml").read_text(encoding="utf-8")
    places = {"{url}": url, "{store}": str(folder / "store"), "{port}": str(folder / "bus" / "rs485")}
    for mark, place in places.items():
        text = text.replace(mark, place)
    path = folder / "demo.toml"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def simulator(config: Path, links: Path, faults: Sequence[str]) -> Iterator[None]:
    """`fieldtap simulate`, paced like a real line, from the moment its bus is there."""
    links.mkdir()
    command = [*COMMAND, "simulate", str(config), "--link", str(links), "--pace"]
    child = subprocess.Popen(  # noqa: S603
        [*command, *(word for spec in faults for word in ("--fault", spec))], stdout=subprocess.PIPE, process_group=0
    )
    try:
        assert child.stdout is not None  # noqa: S101
        if not child.stdout.readline():
            raise FieldtapError(f"the simulator ended with exit code {child.wait()}")
        yield
    finally:
        end(child)


@contextmanager
def agent(config: Path, summary: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`fieldtap run`, ended with SIGTERM as systemd does."""
    command = [*COMMAND, "run", str(config), "--summary", str(summary), "--quiet"]
    child = subprocess.Popen(command, process_group=0)  # noqa: S603
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[Any]) -> None:
    """SIGTERM, then SIGKILL when that is not enough."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()


def read_summary(path: Path) -> dict[str, Any]:
    """What the agent wrote on exit."""
    if not path.exists():
        raise FieldtapError("the agent ended without its summary; its messages are above")
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])


def must_live(child: subprocess.Popen[bytes]) -> None:
    """An agent that ends before it is asked to has failed."""
    if child.poll() is not None:
        raise FieldtapError(f"the agent ended by itself with exit code {child.returncode}")


def devices_of(config: Config) -> list[str]:
    """BUS/DEVICE of each."""
    return [f"{bus.name}/{device.name}" for bus in config.buses for device in bus.devices]


def take_one(receiver: Receiver, verdict: Verdict, timeout_s: float) -> bool:
    """Judge the next message; False when none comes in time."""
    message = receiver.get(timeout_s)
    if message is not None:
        verdict.take(message.payload)
    return message is not None


def take_until(receiver: Receiver, verdict: Verdict, until_s: float) -> None:
    """Judge every message that comes before `until_s`."""
    while (left := until_s - time.monotonic()) > 0:
        take_one(receiver, verdict, left)


def wait_for_the_rest(receiver: Receiver, verdict: Verdict, kept: int, timeout_s: float) -> None:
    """The broker has everything; give its last messages the time to arrive."""
    until_s = time.monotonic() + timeout_s
    while verdict.samples < kept and time.monotonic() < until_s:
        take_one(receiver, verdict, POLL_S)
    for message in receiver.drain():
        verdict.take(message.payload)
