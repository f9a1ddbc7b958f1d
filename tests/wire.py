"""Bytes in, their Modbus CRC out, bit by bit as its definition says: an oracle for the table-driven one."""


def crc(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def with_crc(data: bytes) -> bytes:
    return data + crc(data)
