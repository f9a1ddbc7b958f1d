package main

import (
	"encoding/binary"
	"math"
)

// unpack reads one msgpack item: integers become uint64 (modulo 2^64), float32 and float64 keep their bits,
// strings become string, bin []byte, arrays []any, nil nil. It gives back the bytes that follow.
func unpack(b []byte) (any, []byte) {
	h, b := b[0], b[1:]
	switch {
	case h < 0x80:
		return uint64(h), b
	case h >= 0xe0:
		return uint64(int64(int8(h))), b
	case h >= 0xa0 && h < 0xc0:
		return string(b[:h&31]), b[h&31:]
	case h >= 0x90 && h < 0xa0:
		return list(uint64(h&15), b)
	case h >= 0xc4 && h <= 0xc6:
		n, b := number(b, 1<<(h-0xc4))
		return b[:n:n], b[n:]
	case h == 0xca:
		n, b := number(b, 4)
		return math.Float32frombits(uint32(n)), b
	case h == 0xcb:
		n, b := number(b, 8)
		return math.Float64frombits(n), b
	case h >= 0xcc && h <= 0xcf:
		n, b := number(b, 1<<(h-0xcc))
		return n, b
	case h >= 0xd0 && h <= 0xd3:
		n, b := number(b, 1<<(h-0xd0))
		unused := 64 - 8<<(h-0xd0)
		return uint64(int64(n<<unused) >> unused), b
	case h >= 0xd9 && h <= 0xdb:
		n, b := number(b, 1<<(h-0xd9))
		return string(b[:n]), b[n:]
	case h == 0xdc || h == 0xdd:
		n, b := number(b, 2<<(h-0xdc))
		return list(n, b)
	}
	return nil, b
}

func number(b []byte, width int) (uint64, []byte) {
	var whole [8]byte
	copy(whole[8-width:], b[:width])
	return binary.BigEndian.Uint64(whole[:]), b[width:]
}

func list(n uint64, b []byte) (any, []byte) {
	items := make([]any, n)
	for i := range items {
		items[i], b = unpack(b)
	}
	return items, b
}
