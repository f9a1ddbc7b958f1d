"""Writes NAME.json for every map that ships: requests and answers as they cross the wire, and what they mean.

Nothing of the agent takes part: registers are filled, read in runs without gaps, and turned into values here, from the
text of the map alone and with exact arithmetic. Run it after a map has changed, and look at the difference:
`.venv/bin/python tests/devices/golden/make.py`.
"""

import json
import struct
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MAPS = Path(__file__).parents[3] / "agent" / "devices"
UNIT = 17
WORDS = {"bool": 1, "u16": 1, "i16": 1, "u32": 2, "i32": 2, "u64": 4, "i64": 4, "f32": 2, "f64": 4}
FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
TYPICAL = {  # what a device may show, by its unit
    "V": "230.1", "A": "5.25", "mA": "12.345", "W": "1234.5", "kW": "1.25", "VA": "1300.5", "kVA": "1.5",
    "var": "120.5", "kvar": "0.5", "Hz": "49.98", "kWh": "12345.6", "kvarh": "345.6", "Wh": "123456",
    "VAh": "133456", "varh": "3456", "°C": "21.5", "°": "12.5", "%": "45.5", "%/s": "2.5", "Ω": "108.4", "Ah": "105",
    "ppm": "612", "lx": "431.2", "dB": "38.4", "s": "60", "": "0.97",
}  # fmt: skip


def crc16(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 * (crc & 1)
    return crc.to_bytes(2, "little")


def place(written: str, start: int) -> tuple[str, int]:
    table, _, number = written.partition(":")
    return table, int(number, 0) + start


def in_order(big_endian: bytes, order: str) -> bytes:
    words = [big_endian[at : at + 2] for at in range(0, len(big_endian), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    return b"".join(word[::-1] if order in ("BADC", "DCBA") else word for word in words)


class Device:
    """Registers and bits of one device that is filled with typical values, and those values."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.registers: dict[tuple[str, int], bytes] = {}
        self.values: dict[str, Any] = {}
        self._start = document.get("start", 0)
        self._none = document.get("sentinels")
        for number, tag in enumerate(document["tag"]):
            self._fill(number, tag)
        if self._none:
            self._empty(
                next(tag for tag in reversed(document["tag"]) if tag["type"] in WORDS and tag["type"] != "bool")
            )

    def _fill(self, number: int, tag: dict[str, Any]) -> None:
        table, _ = place(tag["register"], self._start)
        kind = tag.get("type", "bool")
        if table in ("coil", "discrete"):
            self._store(tag, bytes(1) + bytes([number % 3 == 0]), number % 3 == 0)
        elif kind == "bool":
            self._store(tag, b"\xff\xff", 1)
        elif kind.startswith(("string", "chars")):
            self._fill_text(tag, int(kind.split(":")[1]))
        elif kind[0] == "f":
            number_ = float(self._typical(number, tag) / self._scale(tag))
            raw = struct.pack(">f" if kind == "f32" else ">d", number_)
            exact = Fraction(struct.unpack(">f" if kind == "f32" else ">d", raw)[0])
            self._store(tag, raw, float(exact * self._scale(tag)))
        else:
            self._fill_number(number, tag, kind)

    def _fill_text(self, tag: dict[str, Any], length: int) -> None:
        text = f"{tag['name'][: length - 1].upper()}"
        raw = text.encode().ljust(length, b"\0")
        wide = tag["type"].startswith("chars")
        self._store(tag, b"".join(bytes([0, byte]) for byte in raw) if wide else raw, text)

    def _fill_number(self, number: int, tag: dict[str, Any], kind: str) -> None:
        bits = 16 * WORDS[kind]
        scale = self._scale(tag)
        if "scale_register" in tag:
            power = -1 - number % 2
            scale *= Fraction(10) ** power
            key = place(tag["scale_register"], self._start)
            if key in self.registers:  # several tags share it: the first one says
                scale = self._scale(tag) * Fraction(10) ** struct.unpack(">h", self.registers[key])[0]
            else:
                self.registers[key] = struct.pack(">h", power)
        raw = round(self._typical(number, tag) / scale)
        most = (1 << bits - (kind[0] == "i")) - 1
        raw = max(min(raw, most - 1), -most if kind[0] == "i" else 1)
        self._store(tag, (raw % (1 << bits)).to_bytes(bits // 8), float(raw * scale))

    def _scale(self, tag: dict[str, Any]) -> Fraction:
        return Fraction(str(tag.get("scale", 1)))

    def _typical(self, number: int, tag: dict[str, Any]) -> Fraction:
        """No two tags alike, and what can be negative is so now and then."""
        value = Fraction(TYPICAL[tag["unit"]]) * (100 + number) / 100
        can_be_negative = tag["type"][0] in "if" and "energy" not in tag["name"]
        return -value if can_be_negative and number % 4 == 3 else value

    def _store(self, tag: dict[str, Any], big_endian: bytes, value: Any) -> None:
        table, address = place(tag["register"], self._start)
        data = in_order(big_endian, tag.get("order", "ABCD"))
        for at in range(0, len(data), 2):
            self.registers[table, address + at // 2] = data[at : at + 2]
        self.values[tag["name"]] = value

    def _empty(self, tag: dict[str, Any]) -> None:
        """What one of its sensors gives when it is not there."""
        bits = 16 * WORDS[tag["type"]]
        ones = (1 << bits) - 1
        if tag["type"][0] == "f":
            raw = 0x7FC00000 << bits - 32
        elif tag["type"][0] == "i":
            raw = 1 << bits - 1 if self._none == "sunspec" else ones >> 1
        else:
            raw = ones
        self._store(tag, tag.get("sentinel", raw).to_bytes(bits // 8), None)

    def answer(self, table: str, address: int, quantity: int) -> bytes:
        got = [self.registers.get((table, at), b"\0\0") for at in range(address, address + quantity)]
        if table in ("coil", "discrete"):
            number = sum(bool(word[1]) << at for at, word in enumerate(got))
            return number.to_bytes((quantity + 7) // 8, "little")
        return b"".join(got)


def runs(device: Device, most: int) -> Iterator[tuple[str, int, int]]:
    """Table, address and quantity of reads that fetch all there is and nothing else."""
    for table in FUNCTIONS:
        addresses = sorted(at for there, at in device.registers if there == table)
        first = 0
        for index, address in enumerate(addresses):
            is_last = index + 1 == len(addresses) or addresses[index + 1] != address + 1
            if is_last or index + 1 - first == most:
                yield table, addresses[first], index + 1 - first
                first = index + 1


def exchanges(device: Device, most: int) -> list[dict[str, str]]:
    found = []
    for table, address, quantity in runs(device, most):
        request = struct.pack(">BBHH", UNIT, FUNCTIONS[table], address, quantity)
        data = device.answer(table, address, quantity)
        answer = bytes([UNIT, FUNCTIONS[table], len(data)]) + data
        found.append({"request": (request + crc16(request)).hex(" "), "answer": (answer + crc16(answer)).hex(" ")})
    return found


def golden(path: Path) -> str:
    map_ = tomllib.loads(path.read_text())
    device = Device(map_)
    document = {"exchanges": exchanges(device, map_.get("max_registers", 125)), "values": device.values}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in MAPS.glob("*.toml"):
        (HERE / f"{path.stem}.json").write_text(golden(path))
