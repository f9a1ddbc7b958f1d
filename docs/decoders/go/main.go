// fieldtap batches to JSON lines: go run . FILE... (data and schema payloads). Standard library only.
package main

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
)

var qualities = []string{"good", "stale", "comm-fail", "exception", "out-of-range", "clock-unknown", "substituted"}
var schemas = map[string][]any{} // tables by hash

func learn(message []byte) {
	hash, schema := sha256.Sum256(message), must(unpack(message)).([]any)
	schemas[string(hash[:8])] = schema[1].([]any)
}

func must(item any, _ []byte) any { return item }

type verdict struct{ quality, detail uint64 }

func verdicts(runs any, cells int) (all []verdict) {
	if runs == nil {
		return make([]verdict, cells)
	}
	for r := runs.([]any); len(r) > 0; r = r[3:] {
		for n := r[2].(uint64); n > 0; n-- {
			all = append(all, verdict{r[0].(uint64), r[1].(uint64)})
		}
	}
	return all
}

// group prints its samples, row by row.
func group(message, tags []any, rows int, there, runs any, times []int64, read func(place, count int) []any) {
	var cells []int
	for i := 0; i < rows*len(tags); i++ {
		if bits, some := there.([]byte); !some || bits[i/8]>>(i%8)&1 == 1 {
			cells = append(cells, i)
		}
	}
	quality, valued, lines := verdicts(runs, len(cells)), make([][]map[string]any, len(tags)), []map[string]any{}
	for c, i := range cells {
		tag, q := tags[i%len(tags)].([]any), quality[c]
		line := map[string]any{"gateway": message[1], "tag": tag[0], "t": float64(times[i/len(tags)]) / 1e6, "v": nil}
		line["q"], line["unit"], line["seq"] = qualities[q.quality], tag[4], message[3]
		line["epoch"] = hex.EncodeToString(message[2].([]byte))
		if q.quality == 3 {
			line["code"] = q.detail
		}
		if message[4].(uint64)&1 == 1 {
			line["historical"] = true
		}
		if q.quality == 0 || q.quality > 4 { // good, clock-unknown, substituted: it has a value
			valued[i%len(tags)] = append(valued[i%len(tags)], line)
		}
		lines = append(lines, line)
	}
	for place, tag := range tags {
		for i, value := range read(place, len(valued[place])) {
			show(valued[place][i], tag.([]any), value)
		}
	}
	for _, line := range lines {
		text, _ := json.Marshal(line)
		os.Stdout.Write(append(text, '\n'))
	}
}

func main() {
	var batches [][]any
	for _, name := range os.Args[1:] {
		data, err := os.ReadFile(name)
		if err != nil {
			panic(err)
		}
		message := must(unpack(data)).([]any)
		if _, isBatch := message[1].(string); isBatch {
			batches = append(batches, message)
		} else {
			learn(data)
		}
	}
	for _, batch := range batches {
		body, _ := batch[7].([]any)
		if batch[6].(uint64) == 1 {
			inflater, _ := zlib.NewReader(bytes.NewReader(batch[7].([]byte)))
			inflated, _ := io.ReadAll(inflater)
			body = must(unpack(inflated)).([]any)
		}
		decode(batch, append(body, make([]any, 10)...))
	}
}
