"""A configuration in, all its devices answering on ptys and loopback sockets out."""

import os
import socket
import threading
import tty
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from agent._native.server import SimulatedBus, SimulatorLoop
from agent.acquire.port import FRAMINGS, is_remote, kind_of, wire_of
from agent.config.model import Bus, Config
from agent.config.ports import address_of, scheme_of
from agent.errors import BusError, ConfigError, FieldtapError, NotPermittedError, UsageError
from agent.simulate.faults import pack_faults, parse_fault
from agent.simulate.layout import arrange, unit_bits
from agent.simulate.links import link
from agent.simulate.nameplate import maps_of, nameplates, presets
from agent.simulate.sunspec import chains

BACKLOG = 8  # connections that may wait to be accepted; as many as a bus serves
STOP_RETRY_S = 0.05  # how often a loop stuck on a full pty is freed again


class Simulator:
    """Plays every device of a configuration between start() and stop(); answers come from a thread without the GIL."""

    def __init__(
        self,
        config: Config,
        *,
        link_dir: str | Path | None = None,
        pace: bool = False,
        faults: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        """Prepare; `faults` as for --fault, made repeatable by `seed`. Raises UsageError, ConfigError."""
        self.paths: dict[str, str] = {}  # bus -> what to open: a path, or tcp://127.0.0.1:PORT
        self.conflicts: list[str] = []  # tags whose registers another tag has taken: their values will look wrong
        self.plain = [bus.name for bus in config.buses if scheme_of(bus.port) == "tls"]  # TLS is not played
        self._buses = config.buses
        self._link_dir = Path(link_dir) if link_dir is not None else None
        self._pace = pace
        self._faults = [parse_fault(spec) for spec in faults]
        self._maps = maps_of(config.buses)
        self._native = {bus.name: self._simulated(bus, seed + number) for number, bus in enumerate(config.buses)}
        self._open = ExitStack()
        self._error: OSError | None = None
        self._check_faults()

    def start(self) -> None:
        """Open all ports and serve; `paths` is filled when this returns. Raises BusError."""
        with ExitStack() as opened:
            for bus in self._buses:
                self.paths[bus.name] = self._attach(bus, opened)
            self._loop = SimulatorLoop(tuple(self._native.values()))
            self._open = opened.pop_all()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Let wait() return soon; also from a signal handler."""
        self._loop.stop()

    def wait(self) -> None:
        """Block until interrupt(), or until a line breaks."""
        self._thread.join()

    def stop(self) -> None:
        """Close everything; stats() stay readable. Raises BusError when a line broke meanwhile."""
        while self._thread.is_alive():
            self._loop.stop()
            self._thread.join(STOP_RETRY_S)
        self._loop.close()
        self._open.close()
        if self._error is not None:
            raise BusError(f"the simulator's lines broke: {self._error}") from self._error

    def stats(self) -> dict[str, dict[str, Any]]:
        """Per bus what was heard, answered and done wrong; exact once stopped."""
        return {name: {**bus.counts(), "faults": bus.faults_applied()} for name, bus in self._native.items()}

    def _run(self) -> None:
        try:
            self._loop.run()
        except OSError as error:
            self._error = error

    def _check_faults(self) -> None:
        for fault in self._faults:
            if fault.bus is not None and fault.bus not in self._native:
                raise UsageError(f"--fault {fault.bus}={fault.kind}: no such bus; there are {', '.join(self._native)}")
            buses = [bus for bus in self._buses if fault.bus in (None, bus.name)]
            units = sorted({device.unit for bus in buses for device in bus.devices})
            if fault.kind == "dead" and fault.argument not in units:
                listed = ", ".join(map(str, units))
                raise UsageError(f"--fault dead:{fault.argument}: no device has that unit; there are {listed}")

    def _simulated(self, bus: Bus, seed: int) -> SimulatedBus:
        if bus.protocol not in FRAMINGS:
            raise ConfigError([f"bus {bus.name}: this version cannot simulate protocol {bus.protocol}"])
        units = unit_bits(device.unit for device in bus.devices)
        signals, conflicts = arrange(bus.devices)
        self.conflicts += [f"{bus.name}/{conflict}" for conflict in conflicts]
        wire = wire_of(bus)
        char_ns, gap_ns = (wire.char_ns, wire.quiet_ns) if self._pace else (0, 0)
        framing = wire.framing
        native = SimulatedBus(framing, units, signals, pack_faults(self._faults, bus.name), seed, char_ns, gap_ns)
        native.name(nameplates(bus.devices, self._maps))
        for place in (*presets(bus.devices, self._maps), *chains(bus.devices)):
            native.preset(*place)
        return native

    def _attach(self, bus: Bus, opened: ExitStack) -> str:
        try:
            if is_remote(bus.port):
                return self._listen(bus, opened)
            return self._open_pty(bus, opened)
        except OSError as error:
            raise _not_simulated(bus, error) from error

    def _listen(self, bus: Bus, opened: ExitStack) -> str:
        listener = opened.enter_context(_bound(*address_of(bus.port), kind_of(bus.port)))
        if listener.type == socket.SOCK_STREAM:
            listener.listen(BACKLOG)
        self._native[bus.name].attach(listener.fileno(), -1)
        host, port = listener.getsockname()
        return f"{scheme_of(bus.port).replace('tls', 'tcp')}://{host}:{port}"

    def _open_pty(self, bus: Bus, opened: ExitStack) -> str:
        master, first_slave = os.openpty()
        opened.callback(os.close, master)
        path = os.ttyname(first_slave)
        # A description of its own, so that it can be non-blocking where the master's side blocks.
        slave = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        opened.callback(os.close, slave)
        os.close(first_slave)
        tty.setraw(slave)
        self._native[bus.name].attach(master, slave)
        if self._link_dir is None:
            return path
        link(self._link_dir / bus.name, path, opened)
        return str(self._link_dir / bus.name)


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A loopback socket at the configured place when that is here and free, else anywhere."""
    is_loopback = host == "localhost" or host.startswith("127.")
    for address in [("127.0.0.1" if host == "localhost" else host, port)] if is_loopback else []:
        with suppress(OSError):
            return _socket_at(address, kind)
    return _socket_at(("127.0.0.1", 0), kind)


def _socket_at(address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def _not_simulated(bus: Bus, error: OSError) -> FieldtapError:
    """The system's refusal in words; only a link's place is something that its user may not have the right to."""
    where = f"{error.filename2 or error.filename}: " if error.filename else ""
    message = f"bus {bus.name}: cannot be simulated: {where}{error.strerror or error}"
    if isinstance(error, PermissionError):
        return NotPermittedError(f"{message}; choose a folder for --link that you may write to")
    return BusError(message)
