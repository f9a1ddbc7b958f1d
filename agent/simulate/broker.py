"""A kind of broker comes in; a real one of our own, running on loopback, goes out: mosquitto, or amqtt from PyPI."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from agent.errors import UplinkError

START_TIMEOUT_S = 15.0  # amqtt imports for seconds on a small board
STOP_TIMEOUT_S = 3.0  # then it is killed: together with the agent's own stop this stays below 5 s
READY_CHECK_S = 0.02
START_TRIES = 3  # a free port may be taken by another process between finding and using it
LOG_TAIL_BYTES = 2000
SYSTEM_PATH = "/usr/sbin:/usr/local/sbin"  # where Debian puts mosquitto, and not on every user's PATH


class Certificates(NamedTuple):
    """Files for a TLS listener; with `require_client` only clients with a certificate of `ca` are let in."""

    ca: Path
    cert: Path
    key: Path
    require_client: bool = False


class Broker:
    """A broker in a process of its own with a private folder; stop() ends exactly what start() began.

    Users, required client certificates and more `settings` (lines of mosquitto.conf) are for mosquitto only.
    """

    def __init__(
        self,
        kind: str | None = None,
        *,
        users: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
        websockets: bool = False,
        settings: Sequence[str] = (),
    ) -> None:
        able = find_mosquitto() and not websockets  # Debian's mosquitto cannot bind websockets to loopback alone
        self.kind = kind or ("mosquitto" if able else "amqtt")
        self.port = 0
        self._users = users
        self._certificates = certificates
        self._websockets = websockets
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="fieldtap-broker-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What goes into mqtt.url."""
        scheme = "ws" if self._websockets else "mqtt"
        return f"{scheme}{'s' if self._certificates else ''}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Run it and wait until it takes connections; after kill() or stop() again on the same port."""
        tries = 1 if self.port else START_TRIES
        for _ in range(tries):
            port = self.port or _free_port()
            if self._started_on(port):
                self.port = port
                return self
        raise UplinkError(f"{self.kind} does not start on 127.0.0.1: {self.log()[-LOG_TAIL_BYTES:]}")

    def stop(self) -> None:
        """Ask it to end, and see to it; its folder stays for another start() until close()."""
        self._end(kill=False)

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        self._end(kill=True)

    def close(self) -> None:
        """Stop and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """What it has written so far."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started_on(self, port: int) -> bool:
        if _takes_connections(port):
            return False  # somebody else was faster, and would be taken for ours
        command = self._mosquitto(port) if self.kind == "mosquitto" else self._amqtt(port)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if _takes_connections(port):
                return True
            time.sleep(READY_CHECK_S)
        self.kill()
        return False

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill() if kill else process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _mosquitto(self, port: int) -> list[str]:
        program = find_mosquitto()
        if program is None:
            raise UplinkError("mosquitto is not installed: apt-get install mosquitto")
        lines = [
            f"listener {port} 127.0.0.1",
            *_mosquitto_tls(self._certificates),
            *self._mosquitto_users(program),
            "persistence false",
            "set_tcp_nodelay true",
            f"user {getpass.getuser()}",  # started by root it would become a user that cannot read our folder
            *self._settings,
        ]
        path = self._folder / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        return [program, "-c", str(path)]

    def _mosquitto_users(self, program: str) -> list[str]:
        if not self._users:
            return ["allow_anonymous true"]
        path = self._folder / "users"
        path.write_text("".join(f"{user}:{password}\n" for user, password in self._users.items()))
        hasher = shutil.which("mosquitto_passwd") or str(Path(program).with_name("mosquitto_passwd"))
        subprocess.run([hasher, "-U", str(path)], check=True)  # noqa: S603
        return ["allow_anonymous false", f"password_file {path}"]

    def _amqtt(self, port: int) -> list[str]:
        listener: dict[str, object] = {"type": "ws" if self._websockets else "tcp", "bind": f"127.0.0.1:{port}"}
        if self._certificates is not None:
            certificates = self._certificates
            listener |= {"ssl": True, "certfile": str(certificates.cert), "keyfile": str(certificates.key)}
        return [sys.executable, "-m", __name__, json.dumps(listener)]


def find_mosquitto() -> str | None:
    """The mosquitto that would be started."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def _mosquitto_tls(certificates: Certificates | None) -> list[str]:
    if certificates is None:
        return []
    lines = [f"cafile {certificates.ca}", f"certfile {certificates.cert}", f"keyfile {certificates.key}"]
    return lines + (["require_certificate true"] if certificates.require_client else [])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        connected = probe.connect_ex(("127.0.0.1", port)) == 0
        return connected and probe.getsockname() != probe.getpeername()  # TCP can connect a free port to itself


def _serve_amqtt(listener: dict[str, object]) -> None:
    """In the child process: run amqtt until SIGTERM."""
    import asyncio  # noqa: PLC0415 only the child needs these
    import logging  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from amqtt.broker import Broker as Amqtt  # type: ignore[import-untyped] # noqa: PLC0415

    async def serve() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        allow = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        broker = Amqtt({"listeners": {"default": listener}, "plugins": allow})
        await broker.start()
        await ended.wait()
        await broker.shutdown()

    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve())


if __name__ == "__main__":
    _serve_amqtt(json.loads(sys.argv[1]))
