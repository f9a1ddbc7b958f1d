"""A request of every function and what answers it, as PDUs; and what bears its function and answers something else."""

from agent.acquire import pdu

OBJECT = bytes([43, 14, 1, 1, 0, 0, 1, 0, 240]) + b"m" * 240
PAIRS = {
    pdu.exception_status(): b"\x07\x6d",
    pdu.diagnostic(pdu.Diagnostic.BUS_ERRORS): b"\x08\x00\x0c\x00\x07",
    pdu.event_counter(): b"\x0b\x00\x00\x01\x08",
    pdu.event_log(): b"\x0c\x08\x00\x00\x01\x08\x01\x21\x20\x00",
    pdu.write_registers(1, bytes(246)): b"\x10\x00\x01\x00\x7b",
    pdu.server_id(): b"\x11\x03AB\xff",
    pdu.read_file((4, 1, 121)): b"\x14\xf4\xf3\x06" + bytes(242),
    pdu.write_file(4, 7, bytes(244)): pdu.write_file(4, 7, bytes(244)),
    pdu.mask_write(1, b"ab", b"cd"): pdu.mask_write(1, b"ab", b"cd"),
    pdu.read_write(1, 125, 1, bytes(242)): b"\x17\xfa" + bytes(250),
    pdu.read_fifo(1246): b"\x18\x00\x06\x00\x02\x01\xb8\x12\x84",
    pdu.device_identification(): OBJECT,
}
MISFITS = {
    pdu.diagnostic(pdu.Diagnostic.BUS_ERRORS): b"\x08\x00\x0b\x00\x07",
    pdu.read_file((4, 1, 3)): b"\x14\x08\x03\x06\x00\x01\x03\x06\x00\x02",
    pdu.write_file(4, 7, b"ab"): pdu.write_file(4, 8, b"ab"),
    pdu.device_identification(pdu.Level.REGULAR, 3): b"\x2b\x0e\x02\x82\x00\x00\x01\x04\x01A",
    pdu.read_write(1, 2, 1, b"ab"): b"\x17\x02\x00\x01",
}
