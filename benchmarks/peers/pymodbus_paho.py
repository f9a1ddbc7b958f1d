"""Peer: the gateway people write first. pymodbus async polls, every answer is published as JSON with paho at QoS 1.

Usage: pymodbus_paho.py PORT BROKER_PORT UNITS REGISTERS PERIOD_S DURATION_S; prints how many samples it published.
"""

import asyncio
import json
import sys
import time

import paho.mqtt.client as mqtt
from pymodbus.client import AsyncModbusSerialClient


async def poll(client, broker, units, registers, period_s, until):
    published = 0
    due = time.monotonic()
    while due < until:
        for unit in range(1, units + 1):
            answer = await client.read_holding_registers(0, count=registers, device_id=unit)
            if not answer.isError():
                values = {f"r{n}": value for n, value in enumerate(answer.registers)}
                broker.publish(f"peer/unit{unit}", json.dumps({"t": time.time(), **values}), qos=1)
                published += len(values)
        due += period_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    return published


async def main(port, broker_port, units, registers, period_s, duration_s):
    broker = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    broker.connect("127.0.0.1", broker_port)
    broker.loop_start()
    client = AsyncModbusSerialClient(port, baudrate=115200, parity="N")
    await client.connect()
    print(await poll(client, broker, units, registers, period_s, time.monotonic() + duration_s))
    client.close()
    broker.loop_stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:5]), *map(float, sys.argv[5:7])))
