"""Requests one by one, over a port of their own."""

import os
import socket
import struct
import threading

import pytest

from agent.acquire import pdu
from agent.acquire.once import Line
from agent.config.model import Bus, Table
from agent.errors import BusError


def test_an_answer_that_lies_on_the_line_is_not_taken_for_the_next(device, bus_on) -> None:
    with Line(bus_on(device.path, baud=19200)) as line:
        for address in range(100, 200, 7):
            os.write(device.master, device.answer(1, 3, address - 1, 1))  # late, and of the same shape
            answer = line.ask(pdu.Ask(1, pdu.read(Table.HOLDING, address, 1)))
            assert struct.unpack(">H", pdu.data(answer)) == (address,)


def late_device(listener: socket.socket) -> None:
    """Answers the first request when it has heard the second one, and then that."""
    connection, _ = listener.accept()
    with connection:
        requests = [connection.recv(12), connection.recv(12)]
        for value, request in enumerate(requests, 1):
            connection.sendall(request[:4] + struct.pack(">HBBBH", 5, request[6], 3, 2, value))
        connection.recv(1)


def test_a_late_answer_over_tcp_is_told_by_its_number() -> None:
    reading = pdu.Ask(1, pdu.read(Table.HOLDING, 7, 1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=late_device, args=[listener], daemon=True).start()
        port = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with Line(Bus(name="b", port=port, protocol="modbus-tcp", timeout_ns=500_000_000, devices=())) as line:
            with pytest.raises(BusError, match="did not answer"):
                line.ask(reading)
            assert pdu.data(line.ask(reading)) == b"\0\2"
