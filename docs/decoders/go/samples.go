package main

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"unicode/utf8"
)

func typed(kind, bits uint64) any {
	switch kind {
	case f32:
		return math.Float32frombits(uint32(bits))
	case f64:
		return math.Float64frombits(bits)
	}
	return bits
}

// plain undoes the plain format's columns; NaN comes as a bin of bit patterns.
func plain(kind uint64, column any) []any {
	patterns, isBin := column.([]byte)
	width := map[uint64]int{f32: 4, f64: 8}[kind]
	var values []any
	for i := 0; isBin && i < len(patterns); i += width {
		bits, _ := number(patterns[i:], width)
		values = append(values, typed(kind, bits))
	}
	if isBin || kind == f32 || kind == f64 || kind == text {
		if !isBin {
			values = column.([]any)
		}
		return values
	}
	sum := uint64(0)
	for _, delta := range column.([]any) {
		sum += delta.(uint64)
		values = append(values, sum)
	}
	return values
}

// show sets v, and bits where JSON cannot say v.
func show(line map[string]any, column []any, value any) {
	kind, scale, offset := column[1].(uint64), column[2].(float64), column[3].(float64)
	var v float64
	var bits []byte
	switch value := value.(type) {
	case []byte:
		showText(line, value)
		return
	case float32:
		v, bits = float64(value), binary.BigEndian.AppendUint32(nil, math.Float32bits(value))
	case float64:
		v, bits = value, binary.BigEndian.AppendUint64(nil, math.Float64bits(value))
	case uint64:
		v, line["v"] = float64(value), value
		if kind == i16 || kind == i32 || kind == i64 {
			v, line["v"] = float64(int64(value)), int64(value)
		}
		if scale == 1 && offset == 0 {
			return
		}
		bits = binary.BigEndian.AppendUint64(nil, value)
	}
	if scale != 1 || offset != 0 {
		v = float64(v*scale) + offset // the conversion keeps the compiler from fusing the two
	}
	if line["v"] = v; math.IsNaN(v) || math.IsInf(v, 0) {
		line["v"], line["bits"] = nil, hex.EncodeToString(bits)
	}
}

func showText(line map[string]any, raw []byte) {
	line["v"] = string(raw)
	if !utf8.Valid(raw) {
		latin := make([]rune, len(raw))
		for i, b := range raw {
			latin[i] = rune(b)
		}
		line["v"], line["bits"] = string(latin), hex.EncodeToString(raw)
	}
}
