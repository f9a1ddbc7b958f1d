package main

// decode prints the samples of one batch; its body is padded with nil.
func decode(message, body []any) {
	carried, _ := body[9].([]any)
	for _, schema := range carried {
		learn(schema.([]byte))
	}
	var tables []any
	for hashes := body[3].([]byte); len(hashes) > 0; hashes = hashes[8:] {
		tables = append(tables, schemas[string(hashes[:8])]...)
	}
	streams := columns{firsts: map[string]first{}}
	streams.floats, _ = body[0].([]byte)
	streams.doubles, _ = body[1].([]byte)
	streams.heads, _ = body[5].([]byte)
	streams.steps, _ = body[6].([]byte)
	streams.text, _ = body[7].([]byte)
	isPlain, next := len(streams.heads) == 0, 0
	for _, item := range body[4].([]any) {
		parts, isArray := item.([]any)
		if !isArray { // a bare number: that many rows of the next group, whole and good
			parts = []any{uint64(next), item, nil, nil}
		}
		number, rows := int(parts[0].(uint64)), int(parts[1].(uint64))
		tags, kinds := tables[number].([]any)[1].([]any), []uint64{}
		for _, tag := range tags {
			kinds = append(kinds, tag.([]any)[1].(uint64))
		}
		read := streams.values
		if isPlain {
			read = func(place, _ int) []any { return plain(kinds[place], parts[5].([]any)[place]) }
		} else {
			streams.open(kinds)
		}
		step, now, times := int64(0), int64(body[2].(uint64)*1e6), make([]int64, rows)
		for i := range times {
			if isPlain {
				step += int64(parts[4].([]any)[i].(uint64))
			} else {
				step += int64(varint(&streams.heads))
			}
			now += step
			times[i] = now
		}
		group(message, tags, rows, parts[2], parts[3], times, read)
		next = number + 1
	}
}
