"""What the last error of a device on a line of ASCII shows: the characters that came, as they came."""

from collections.abc import Callable
from typing import Any

import pytest
from tcp_servers import Connection

from agent.acquire.statistics import Mishap

CASES: dict[str, tuple[bytes, str, str]] = {
    # what the device sends, what went wrong, what is shown of it
    "exception": (b":0183027A\r\n", "exception 2: it has no such register", r":0183027A\r"),
    "wrong LRC": (b":0183027B\r\n", "wrong LRC", r":0183027B\r"),
    "cut off": (b":01030200", "a piece of an answer", ":01030200"),
    "another device": (b":0283027A\r\n", "only bytes that do not answer", r":0283027A\r"),
    "no ASCII at all": (b"\x00\xffhello", "only bytes that do not answer", r"\x00\xffhello"),
    "much": (b"x" * 100, "only bytes that do not answer", "x" * 32),
    "nothing": (b"", "no answer", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_last_error_shows_the_characters_that_were_on_the_line(
    run: Callable[..., Any], server: Callable[..., Any], bus_on: Callable[..., Any], case: str
) -> None:
    sent, what, heard = CASES[case]

    def serve(connection: Connection) -> None:
        while connection.socket.recv(100):
            connection.send(sent)

    port = f"ascii+{server(serve).url}"
    running = run(bus_on(port, protocol="modbus-ascii", tags=1))

    def mishap() -> Mishap | None:
        devices = running.acquisition.stats()["rs485"].devices  # none before the plan runs
        return devices["unit1"].mishap if devices else None

    running.wait(lambda: mishap() is not None)
    shown = mishap()
    assert (shown.what, shown.heard.removesuffix(r"\n")) == (what, heard)  # the LF comes when all is decided
