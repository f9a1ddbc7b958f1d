package main

import (
	"fmt"
	"math"
)

const (
	i16, i32, i64, f32, f64, text = 2, 4, 6, 7, 8, 11 // types; those that are not named are unsigned integers
	raw                           = 0                 // mode of a float column; else 1 + decimals
)

type first struct{ mode, v uint64 }

// columns reads the streams of the columns format: open a group, then its times, then its columns in order.
type columns struct {
	floats, doubles, heads, steps, text, modes []byte
	nextFloat, nextDouble                      int
	kinds                                      []uint64
	firsts                                     map[string]first
}

func unzigzag(v uint64) uint64 { return v>>1 ^ -(v & 1) }

func varint(stream *[]byte) (v uint64) {
	for shift := 0; ; shift += 7 {
		b := (*stream)[0]
		*stream = (*stream)[1:]
		v |= uint64(b&127) << shift
		if b < 128 {
			return unzigzag(v)
		}
	}
}

func pattern(planes []byte, width int, next *int) (v uint64) {
	for plane := 0; plane < width; plane++ {
		v |= uint64(planes[plane*(len(planes)/width)+*next]) << (8 * plane)
	}
	*next++
	return unzigzag(v)
}

func (c *columns) open(kinds []uint64) {
	floats := 0
	for _, kind := range kinds {
		if kind == f32 || kind == f64 {
			floats++
		}
	}
	c.kinds, c.modes = kinds, nil
	for _, packed := range c.heads[:(floats+1)/2] {
		c.modes = append(c.modes, packed&15, packed>>4)
	}
	c.heads = c.heads[(floats+1)/2:]
}

func (c *columns) delta(kind, mode uint64, isFirst bool) uint64 {
	switch {
	case kind == f32 && mode == raw:
		return pattern(c.floats, 4, &c.nextFloat)
	case kind == f64 && mode == raw:
		return pattern(c.doubles, 8, &c.nextDouble)
	case isFirst:
		return varint(&c.heads)
	}
	return varint(&c.steps)
}

// values gives text as []byte, floats as float32 or float64, integers as uint64.
func (c *columns) values(place, count int) []any {
	kind, mode, slot, out := c.kinds[place], uint64(raw), fmt.Sprint(c.kinds, place), make([]any, count)
	if kind == f32 || kind == f64 {
		mode, c.modes = uint64(c.modes[0]), c.modes[1:]
	}
	v, full := uint64(0), mode == raw && (kind == f32 || kind == f64)
	if before, known := c.firsts[slot]; known && before.mode == mode {
		v = before.v
	} else if full {
		v = c.firsts[fmt.Sprint(kind, mode)].v
	}
	for i := range out {
		if kind == text {
			n := varint(&c.steps)
			out[i], c.text = c.text[:n:n], c.text[n:]
			continue
		}
		if v += c.delta(kind, mode, i == 0); i == 0 {
			c.firsts[slot], c.firsts[fmt.Sprint(kind, mode)] = first{mode, v}, first{mode, v}
		}
		out[i] = typed(kind, v)
		if decimal := float64(int64(v)) / math.Pow10(int(mode)-1); mode != raw && kind == f32 {
			out[i] = float32(decimal)
		} else if mode != raw {
			out[i] = decimal
		}
	}
	return out
}
