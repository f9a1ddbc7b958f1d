"""What `read` and `write` are told on the command line in, a bus with one device and its tags out."""

import argparse
import re
from collections.abc import Callable
from typing import TypeVar

from agent.acquire.pdu import MAX_FILE, MAX_RECORD
from agent.config.buses import LEAST_BAUD, MOST_BAUD, default_data_bits
from agent.config.model import MAX_REGISTERS, Bus, Device, Table, Tag
from agent.config.nodes import Node, Place
from agent.config.ports import ASCII, MBAP, PROTOCOLS, RTU, scheme_of
from agent.config.ports import port as port_
from agent.config.registers import ADDRESSES, Form, form, register, registers_of
from agent.config.values import UnfitError
from agent.errors import UsageError
from agent.model import NS_PER_MS, NS_PER_S, Order, ValueType

BIT_TABLES = (Table.COIL, Table.DISCRETE)
MAX_TIMEOUT_MS = 60_000
TARGETS = "port path, or tcp:// udp:// tls:// rtu+tcp:// rtu+udp:// ascii+tcp:// ascii+udp:// HOST:PORT"
_NUMBER = r"(0[xX][0-9A-Fa-f]{1,4}|[1-9]\d{0,4}|0)"
RECORD = re.compile(rf"file:{_NUMBER}:{_NUMBER}")
QUEUE = re.compile(rf"fifo:{_NUMBER}")

Parsed = TypeVar("Parsed")


def add_form(parser: argparse.ArgumentParser) -> None:
    """Declare what tells a form of value."""
    parser.add_argument("--type", metavar="T", help="u16 (registers), bool (bits), i16 u32 f32 ... string:N bits:N@K")
    parser.add_argument(
        "--order", choices=[order.name for order in Order], default="ABCD", help="of the bytes (default %(default)s)"
    )
    parser.add_argument("--base", type=int, choices=(0, 1), default=0, help="what the first register is called")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what tells a device and how it is reached."""
    parser.add_argument("--unit", metavar="N", type=int, required=True, help="the device's unit identifier")
    parser.add_argument("--baud", type=int, default=19200, help="bits per second (default %(default)s)")
    parser.add_argument("--parity", choices=("N", "E", "O"), default="E", help="default %(default)s")
    parser.add_argument("--stop-bits", type=int, choices=(1, 2), default=1, help="default %(default)s")
    parser.add_argument("--data-bits", type=int, choices=(7, 8), help="default 8, with modbus-ascii 7")
    parser.add_argument("--protocol", choices=(RTU, ASCII), help=f"what a serial port speaks (default {RTU})")
    parser.add_argument(
        "--timeout", metavar="MS", type=int, default=1000, help="until the answer begins (default %(default)s)"
    )
    tls = parser.add_argument_group("for tls://, files in PEM form")
    tls.add_argument("--ca", metavar="FILE", help="whom to trust (default: whom the system trusts)")
    tls.add_argument("--cert", metavar="FILE", help="our certificate, with --key")
    tls.add_argument("--key", metavar="FILE", help="its private key")
    tls.add_argument("--server-name", metavar="NAME", help="what the device's certificate says, if not the host")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def bus_of(
    args: argparse.Namespace, tags: tuple[Tag, ...], *, broadcast: bool = False, most: int = MAX_REGISTERS
) -> Bus:
    """The bus of TARGET and the options, with a device that has these tags and answers `most` registers at once.

    Raises UsageError.
    """
    port, protocol = _understood(port_, args.target), _protocol(args)
    is_modbus_tcp = protocol == MBAP
    if not (0 if is_modbus_tcp or broadcast else 1) <= args.unit <= 255:
        raise UsageError(f"--unit {args.unit}: a device's is 1 to 255" + (", or 0" if is_modbus_tcp else ""))
    if not 1 <= args.timeout <= MAX_TIMEOUT_MS:
        raise UsageError(f"--timeout {args.timeout}: milliseconds from 1 to {MAX_TIMEOUT_MS}")
    if bool(args.cert) != bool(args.key):
        raise UsageError("--cert and --key go together")
    if not LEAST_BAUD <= args.baud <= MOST_BAUD:
        raise UsageError(f"--baud {args.baud}: bits per second from {LEAST_BAUD} to {MOST_BAUD}")
    return Bus(
        name="bus",
        port=port,
        protocol=protocol,
        baud=args.baud,
        parity=args.parity,
        stop_bits=args.stop_bits,
        data_bits=args.data_bits or default_data_bits(protocol),
        timeout_ns=args.timeout * NS_PER_MS,
        ca=args.ca,
        cert=args.cert,
        key=args.key,
        server_name=args.server_name,
        devices=(Device(name="device", unit=args.unit, max_registers=most, tags=tags),),
    )


def _protocol(args: argparse.Namespace) -> str:
    """What the port's scheme says, or the option."""
    scheme = scheme_of(args.target)
    protocol: str = PROTOCOLS[scheme] if scheme else args.protocol or RTU
    if args.protocol not in (None, protocol):
        raise UsageError(f"--protocol {args.protocol}: {scheme}:// is {protocol}; leave it out")
    if args.data_bits == 7 and protocol != ASCII:
        raise UsageError(f"--data-bits 7: {protocol} has 8; 7 go with --protocol {ASCII}")
    return protocol


def file_of(written: str) -> int:
    """The file whose record is written there as `file:FILE:RECORD`; 0: it is a register. Raises UsageError."""
    if not written.startswith("file:"):
        return 0
    return _record(written)[0]


def tags_of(args: argparse.Namespace, written: str, count: int) -> tuple[Tag, ...]:
    """So many values from the register or the record on that is written there. Raises UsageError.

    Records are laid out like holding registers, so that is what the tags call them.
    """
    if written.startswith("file:"):
        return _record_tags(args, _record(written)[1], count)
    table, number, is_reference = _understood(register, written)
    form_ = _form(args.type, table)
    address = number - (1 if is_reference else args.base)
    size = registers_of(form_)
    if address < 0 or address + count * size > ADDRESSES:
        raise UsageError(f"{args.register}: registers are {args.base} to {ADDRESSES - 1 + args.base}")
    return _consecutive(args, table, address, form_, count)


def queue_tags(args: argparse.Namespace, registers: int) -> tuple[Tag, ...]:
    """The values of so many registers, numbered from 0. Raises UsageError."""
    form_ = _form(args.type, Table.HOLDING)
    size = registers_of(form_)
    if registers % size:
        raise UsageError(f"--type {args.type}: the queue holds {registers} registers, and such a value takes {size}")
    return _consecutive(args, Table.HOLDING, 0, form_, registers // size)


def queue_of(written: str) -> int:
    """The address of `fifo:ADDRESS`. Raises UsageError."""
    match = QUEUE.fullmatch(written)
    address = int(match[1], 0) if match else ADDRESSES
    if address >= ADDRESSES:
        raise UsageError(f"{written}: a queue is fifo:ADDRESS, 0 to {ADDRESSES - 1}; it has as many values as it has")
    return address


def _record(written: str) -> tuple[int, int]:
    match = RECORD.fullmatch(written)
    file, record = (int(match[1], 0), int(match[2], 0)) if match else (0, 0)
    if not 1 <= file <= MAX_FILE or record > MAX_RECORD:
        raise UsageError(f"{written}: a record is file:FILE:RECORD, files 1 to {MAX_FILE}, records 0 to {MAX_RECORD}")
    return file, record


def _record_tags(args: argparse.Namespace, record: int, count: int) -> tuple[Tag, ...]:
    form_ = _form(args.type, Table.HOLDING)
    if record + count * registers_of(form_) > MAX_RECORD + 1:
        raise UsageError(f"{args.register}: records are 0 to {MAX_RECORD}")
    return _consecutive(args, Table.HOLDING, record, form_, count)


def _consecutive(args: argparse.Namespace, table: Table, address: int, form_: Form, count: int) -> tuple[Tag, ...]:
    size = registers_of(form_)
    return tuple(_tag(table, address + at * size, form_, Order[args.order]) for at in range(count))


def _tag(table: Table, address: int, form_: Form, order: Order) -> Tag:
    return Tag(name=str(address), table=table, address=address, order=order, every_ns=NS_PER_S, **form_._asdict())


def _form(written: str | None, table: Table) -> Form:
    is_bit = table in BIT_TABLES
    form_: Form = _understood(form, written or ("bool" if is_bit else "u16"))
    if is_bit and form_.type is not ValueType.BOOL:
        raise UsageError(f"--type {written}: a {table} holds one bit")
    if not is_bit and form_.type is ValueType.BOOL:
        raise UsageError(f"--type {written}: one bit of a register is bits:1@K")
    return form_


def _understood(parse: Callable[[Node], Parsed], written: str) -> Parsed:
    """What the configuration's notation makes of a word of the command line."""
    place = Place("command line")
    try:
        return parse(Node(written, place, place))
    except UnfitError as error:
        raise UsageError(f"{written}: {error}") from None
