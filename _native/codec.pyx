"""Frames, PDUs and payloads in as bytes; lengths, outcomes and Samples out: the protocol core for tests and commands."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from agent._native.codec cimport (
    FT_ANSWERED,
    FT_ASCII,
    FT_EXCEPTION,
    FT_MAX_ASCII,
    FT_MAX_PDU,
    FT_MAX_RTU,
    FT_MAX_TCP,
    FT_PENDING,
    FT_RTU,
    FT_TCP,
    FT_TIMED_OUT,
    ft_answers,
    ft_ascii_decode,
    ft_ascii_encode,
    ft_block,
    ft_block_fits,
    ft_block_records,
    ft_crc16,
    ft_crc_fits,
    ft_decode,
    ft_decode_failed,
    ft_encode_text,
    ft_encode_value,
    ft_frame,
    ft_framing,
    ft_master,
    ft_master_begin,
    ft_master_deadline,
    ft_master_expire,
    ft_master_feed,
    ft_master_init,
    ft_master_missing,
    ft_master_pdu,
    ft_master_reset,
    ft_normal_length,
    ft_outcome,
    ft_point,
    ft_request_length,
    ft_response_length,
)
from agent._native.samples cimport Samples

RTU = FT_RTU
TCP = FT_TCP
ASCII = FT_ASCII
PENDING = FT_PENDING
ANSWERED = FT_ANSWERED
EXCEPTION = FT_EXCEPTION
TIMED_OUT = FT_TIMED_OUT
NO_SUCH_FUNCTION = -1
OUT_OF_LIMITS = -2

cdef enum:
    SHORTEST_RTU = 4  # unit, function, CRC
    SHORTEST_TCP = 8  # MBAP header, function
    LONGEST_VALUE = 8  # bytes of four registers


cdef class View:
    """The bytes of any buffer, held for as long as this object lives."""

    cdef Py_buffer buffer
    cdef const uint8_t *bytes
    cdef size_t n

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self.buffer, PyBUF_SIMPLE)
        self.bytes = <const uint8_t *> self.buffer.buf
        self.n = <size_t> self.buffer.len

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


def crc16(data):
    """Return the CRC-16/MODBUS of `data`; on the wire its low byte comes first."""
    cdef View view = View(data)
    return ft_crc16(view.bytes, view.n)


def crc_fits(adu):
    """Tell whether the last two bytes of `adu` are the CRC of those before."""
    cdef View view = View(adu)
    return bool(ft_crc_fits(view.bytes, view.n))


def request_length(pdu):
    """Return the length of the request PDU that begins like this: 0 too short to tell, < 0 cannot be one."""
    cdef View view = View(pdu)
    return ft_request_length(view.bytes, view.n)


def response_length(pdu):
    """Return the length of the response PDU that begins like this: 0 too short to tell, < 0 cannot be one."""
    cdef View view = View(pdu)
    return ft_response_length(view.bytes, view.n)


def normal_length(request):
    """Return the length of the PDU that answers this one when nothing is wrong; 0: only the answer tells."""
    cdef View view = View(request)
    return ft_normal_length(view.bytes, view.n)


def answers(request, response):
    """Tell whether the whole PDU `response` answers the PDU `request`; its exceptions do."""
    cdef View asked = View(request)
    cdef View heard = View(response)
    return bool(ft_answers(asked.bytes, asked.n, heard.bytes, heard.n))


cdef ft_framing require_framing(int framing) except *:
    if framing != FT_RTU and framing != FT_TCP:
        raise ValueError(f"no such framing: {framing}")
    return <ft_framing> framing


def frame(int framing, uint16_t transaction, uint8_t unit, pdu):
    """Return the ADU of this framing around `pdu`. Raises ValueError for a PDU that is empty or over 253 bytes."""
    cdef View view = View(pdu)
    cdef uint8_t out[FT_MAX_TCP]
    cdef size_t n
    if not 0 < view.n <= FT_MAX_PDU:
        raise ValueError(f"a PDU has 1 to {FT_MAX_PDU} bytes, not {view.n}")
    n = ft_frame(require_framing(framing), transaction, unit, view.bytes, view.n, out)
    return out[:n]


def to_ascii(adu):
    """Return the characters of an RTU frame in Modbus ASCII. Raises ValueError when it is no frame."""
    cdef View view = View(adu)
    cdef uint8_t out[FT_MAX_ASCII]
    cdef size_t n
    if not SHORTEST_RTU <= view.n <= FT_MAX_RTU:
        raise ValueError(f"{view.n} bytes are not a frame")
    n = ft_ascii_encode(view.bytes, view.n, out)
    return out[:n]


cdef class FromAscii:
    """One line's characters in, the bytes of an RTU line out that said the same (core/ascii.h)."""

    def feed(self, characters):
        """What these characters add."""
        cdef View view = View(characters)
        cdef bytes out = bytes(view.n + 1)
        cdef size_t n = ft_ascii_decode(&self.line, view.bytes, view.n, <uint8_t *> <char *> out)
        return out[:n]


cdef class Master:
    """One master's side of a line (core/master.h), driven with whatever time it is given."""

    def __cinit__(self, int framing, int64_t char_ns=0, FromAscii line=None):
        """`line`: what translates an ASCII line for this master of RTU frames."""
        ft_master_init(&self.m, require_framing(framing), char_ns)
        self.line = line
        self.m.ascii = NULL if line is None else &line.line

    def begin(self, int64_t now_ns, adu, size_t response_bytes, int64_t timeout_ns):
        """Start the transaction of `adu`, written at `now_ns`. Raises ValueError when it is no frame of this line."""
        cdef View view = View(adu)
        cdef size_t shortest = SHORTEST_TCP if self.m.framing == FT_TCP else SHORTEST_RTU
        cdef size_t longest = FT_MAX_TCP if self.m.framing == FT_TCP else FT_MAX_RTU
        if not shortest <= view.n <= longest:
            raise ValueError(f"{view.n} bytes are not a frame")
        ft_master_begin(&self.m, now_ns, view.bytes, view.n, response_bytes, timeout_ns)

    def feed(self, int64_t now_ns, data):
        """Take bytes that arrived at `now_ns`; returns the outcome."""
        cdef View view = View(data)
        cdef ft_outcome outcome
        with nogil:
            outcome = ft_master_feed(&self.m, now_ns, view.bytes, view.n)
        return <int> outcome

    def expire(self, int64_t now_ns):
        """Return TIMED_OUT once the deadline is reached, else the outcome as it stands."""
        return <int> ft_master_expire(&self.m, now_ns)

    def reset(self):
        """Forget everything but the counters: the line was opened anew."""
        ft_master_reset(&self.m)

    @property
    def outcome(self):
        """PENDING, ANSWERED, EXCEPTION or TIMED_OUT."""
        return <int> self.m.outcome

    @property
    def deadline_ns(self):
        """When the pending answer is given up."""
        return ft_master_deadline(&self.m)

    @property
    def missing(self):
        """At least so many more bytes until the answer can be complete."""
        return ft_master_missing(&self.m)

    @property
    def heard(self):
        """Bytes since begin that were not the own echo."""
        return self.m.heard

    @property
    def first_ns(self):
        """When the first bytes arrived that were not the own echo; 0: none yet."""
        return self.m.first_ns

    @property
    def pdu(self):
        """The answer's PDU; empty when there is none."""
        cdef size_t n
        cdef const uint8_t *bytes = ft_master_pdu(&self.m, &n)
        return bytes[:n]

    @property
    def counts(self):
        """What the line brought besides answers, by name."""
        return self.m.counts


cdef class Block:
    """A packed ft_block and its ft_points, checked: whole records, and decodable."""

    cdef View block_view
    cdef View point_view
    cdef const ft_block *block
    cdef const ft_point *points

    def __cinit__(self, block, points):
        self.block_view = View(block)
        self.point_view = View(points)
        self.block = <const ft_block *> self.block_view.bytes
        self.points = <const ft_point *> self.point_view.bytes
        if self.block_view.n != sizeof(ft_block) or self.point_view.n % sizeof(ft_point):
            raise ValueError(f"not a {sizeof(ft_block)}-byte block and {sizeof(ft_point)}-byte points")
        if not ft_block_fits(self.block, self.points, self.point_view.n // sizeof(ft_point)):
            raise ValueError("the block's points do not fit its function and quantity")

    cdef size_t payload_bytes(self) noexcept:
        return (self.block.quantity + 7) // 8 if self.block.function <= 2 else 2 * self.block.quantity


def block_records(block, points):
    """Return the most samples a decode of this block can give. Raises ValueError where it cannot be decoded."""
    cdef Block checked = Block(block, points)
    return ft_block_records(checked.block, checked.points)


def decode(block, points, data, int64_t time_ns, Samples into not None):
    """Append what the payload `data` of `block` holds to `into`; returns how many samples. ValueError on a misfit."""
    cdef Block checked = Block(block, points)
    cdef View view = View(data)
    cdef size_t count
    if view.n != checked.payload_bytes():
        raise ValueError(f"{view.n} bytes are not the block's {checked.payload_bytes()}")
    into.reserve(<Py_ssize_t> ft_block_records(checked.block, checked.points))
    count = ft_decode(checked.block, checked.points, view.bytes, time_ns, into.tail())
    into.count += <Py_ssize_t> count
    return count


def decode_failed(block, points, uint8_t quality, uint8_t detail, int64_t time_ns, Samples into not None):
    """Append one sample a tag of `block` that says why there is no value; returns how many."""
    cdef Block checked = Block(block, points)
    cdef size_t count
    into.reserve(<Py_ssize_t> ft_block_records(checked.block, checked.points))
    count = ft_decode_failed(checked.block, checked.points, quality, detail, time_ns, into.tail())
    into.count += <Py_ssize_t> count
    return count


def encode_value(uint8_t value_type, uint8_t order, uint64_t raw):
    """Return the register bytes of the raw value `raw`. Raises ValueError when the type cannot hold it."""
    cdef uint8_t out[LONGEST_VALUE]
    cdef int registers = ft_encode_value(value_type, order, raw, out)
    if registers < 0:
        raise ValueError(f"type {value_type}, order {order} cannot hold {raw}")
    return out[:2 * registers]


def encode_text(uint8_t order, text):
    """Return the register bytes of `text`. Raises ValueError when it is longer than a read can fetch."""
    cdef View view = View(text)
    cdef uint8_t out[FT_MAX_TCP]
    cdef int registers
    if view.n > FT_MAX_PDU:
        raise ValueError(f"{view.n} bytes of text are more than a PDU holds")
    registers = ft_encode_text(order, view.bytes, view.n, out)
    return out[:2 * registers]
