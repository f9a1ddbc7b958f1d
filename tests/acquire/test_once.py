"""Requests one by one, over a port of their own."""

import os
import struct

from agent.acquire import pdu
from agent.acquire.once import Line
from agent.config.model import Table


def test_an_answer_that_lies_on_the_line_is_not_taken_for_the_next(device, bus_on) -> None:
    with Line(bus_on(device.path, baud=19200)) as line:
        for address in range(100, 200, 7):
            os.write(device.master, device.answer(1, 3, address - 1, 1))  # late, and of the same shape
            answer = line.ask(pdu.Ask(1, pdu.read(Table.HOLDING, address, 1)))
            assert struct.unpack(">H", pdu.data(answer)) == (address,)
