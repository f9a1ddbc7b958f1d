// fieldtap batches to JSON lines: node decode.mjs FILE... (data and schema payloads). Node >= 18.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";

const QUALITIES = ["good", "stale", "comm-fail", "exception", "out-of-range", "clock-unknown", "substituted"];
const [F32, F64, TEXT, SIGNED, HAS_VALUE] = [7n, 8n, 11n, [2n, 4n, 6n], [0n, 5n, 6n]]; // types; qualities
const range = (n, f) => Array.from({ length: Number(n) }, (_, i) => f(i));
const stream = (bytes) => ({ bytes: bytes ?? Buffer.alloc(0), at: 0 });
const take = (s, n) => s.bytes.subarray(s.at, (s.at += Number(n)));
const big = (bytes) => BigInt(`0x0${bytes.toString("hex")}`);
const unzigzag = (v) => (v >> 1n) ^ -(v & 1n);
const hash = (schema) => createHash("sha256").update(schema).digest("hex").slice(0, 16);
const isFloat = (type) => type === F32 || type === F64;
const array = (type) => (type === F32 ? Float32Array : Float64Array); // on machines with the low byte first:
const toFloat = (type, bits) => new (array(type))(BigUint64Array.of(bits).buffer)[0];
const toBits = (type, v) => big(Buffer.from(array(type).of(v).buffer).reverse());

function unpack(s) { // a msgpack item: numbers as BigInt (of floats the bits), str, bin as Buffer, arrays
  const [h, number] = [take(s, 1)[0], (log) => big(take(s, 1 << log))]; // a number of 1, 2, 4, 8 bytes
  if (h < 0x80 || h >= 0xe0) return BigInt.asIntN(8, BigInt(h));
  if (h < 0xa0) return range(h & 15, () => unpack(s));
  if (h < 0xc0) return take(s, h & 31).toString();
  if (h < 0xc7) return h === 0xc0 ? null : take(s, number(h - 0xc4));
  if (h < 0xd4) return h < 0xd0 ? number(h & 3) : BigInt.asIntN(8 << (h & 3), number(h & 3));
  return h < 0xdc ? take(s, number(h - 0xd9)).toString() : range(number(h - 0xdb), () => unpack(s));
}

function varint(s, before = 0n, shift = 0n) {
  const byte = BigInt(s.bytes[s.at++]), v = before | ((byte & 127n) << shift);
  return byte < 128n ? unzigzag(v) : varint(s, v, shift + 7n);
}

const unplane = (planes, width, n = (planes?.length ?? 0) / width) =>
  range(n, (i) => unzigzag(big(Buffer.from(range(width, (p) => planes[(width - 1 - p) * n + i]))))).values();

function column(s, type, slot, mode, count) { // its values: text as Buffer, all others as 64 bits
  if (type === TEXT) return range(count, () => take(s.text, varint(s.steps)));
  let { v } = (s.firsts[slot]?.mode === mode ? s.firsts[slot] : s.firsts[mode === 0 && type]) ?? { v: 0n };
  return range(count, (i) => {
    v = BigInt.asUintN(64, v + (mode === 0 ? s.planes[type].next().value : varint(i ? s.steps : s.heads)));
    if (i === 0) s.firsts[slot] = s.firsts[mode === 0 ? type : slot] = { mode, v };
    return mode ? toBits(type, Number(BigInt.asIntN(64, v)) / 10 ** (mode - 1)) : v;
  });
}

function plain(type, values, sum = 0n) { // a bin: bit patterns of floats, because one of them is NaN
  if (!isFloat(type)) return type === TEXT ? values : values.map((delta) => (sum += delta));
  const [width, s] = [type === F32 ? 4 : 8, stream(values)];
  return Array.isArray(values) ? values : range(values.length / width, () => big(take(s, width)));
}

function show([, type, scale, offset], raw) { // v, and bits where JSON cannot say v
  if (type === TEXT && Buffer.from(raw.toString()).equals(raw)) return `"v":${JSON.stringify(raw.toString())}`;
  if (type === TEXT) return `"v":${JSON.stringify(raw.toString("latin1"))},"bits":"${raw.toString("hex")}"`;
  const [m, b, bits] = [toFloat(F64, scale), toFloat(F64, offset), BigInt.asUintN(type === F32 ? 32 : 64, raw)];
  const exact = SIGNED.includes(type) ? BigInt.asIntN(64, bits) : bits; // a Number has 53 bits
  const v = (isFloat(type) ? toFloat(type, bits) : Number(exact)) * m + b;
  if (Number.isFinite(v)) return `"v":${isFloat(type) || m !== 1 || b !== 0 ? v : exact}`;
  return `"v":null,"bits":"${bits.toString(16).padStart(type === F32 ? 8 : 16, "0")}"`;
}

function print([, gateway, epoch, seq, flags, , codec, wrapped], schemas) {
  const body = codec ? unpack(stream(inflateSync(wrapped))) : wrapped;
  const [floats, doubles, base, hashes, groups, heads, steps, text, , carried] = body;
  for (const schema of carried ?? []) schemas.set(hash(schema), unpack(stream(schema))[1]);
  const tables = range(hashes.length / 8, (i) => schemas.get(hashes.toString("hex", 8 * i, 8 * i + 8))).flat();
  const s = { heads: stream(heads), steps: stream(steps), text: stream(text), firsts: {} };
  s.planes = { [F32]: unplane(floats, 4), [F64]: unplane(doubles, 8) };
  groups.reduce((next, item) => { // a bare number: that many rows of the next group, whole and good
    const [number, rows, there, runs, ...more] = Array.isArray(item) ? item : [next, item];
    const [deltas, own] = heads?.length ? [] : more; // the plain format's times and columns
    const columns = tables[number][1], types = columns.map(([, type]) => type), width = types.length;
    const packed = take(s.heads, own ? 0 : (types.filter(isFloat).length + 1) >> 1);
    const modes = [...packed].flatMap((byte) => [byte & 15, byte >> 4]);
    let [step, now] = [0n, base * 1000000n];
    const times = range(rows, (i) => Number((now += step += own ? deltas[i] : varint(s.heads))) / 1e6);
    const verdicts = (runs ?? []).flatMap((q, i) => (i % 3 ? [] : Array(Number(runs[i + 2])).fill([q, runs[i + 1]])));
    const present = range(Number(rows) * width, (i) => i).filter((i) => !there || (there[i >> 3] >> (i & 7)) & 1);
    const cells = present.map((i, c) => ({ i, q: verdicts[c]?.[0] ?? 0n, code: verdicts[c]?.[1], v: '"v":null' }));
    types.forEach((type, place) => {
      const mine = cells.filter(({ i, q }) => i % width === place && HAS_VALUE.includes(q));
      const mode = isFloat(type) ? modes.shift() : undefined;
      const values = own ? plain(type, own[place]) : column(s, type, `${types} ${place}`, mode, mine.length);
      mine.forEach((cell, i) => (cell.v = show(columns[place], values[i])));
    });
    for (const { i, q, code, v } of cells) {
      const [[tag, , , , unit], t] = [columns[i % width], times[Math.floor(i / width)]];
      const line = JSON.stringify({ gateway, epoch: epoch.toString("hex"), tag, t, q: QUALITIES[q], unit });
      const flagged = (q === 3n ? `,"code":${code}` : "") + (flags & 1n ? ',"historical":true' : "");
      console.log(`${line.slice(0, -1)},"seq":${seq}${flagged},${v}}`);
    }
    return number + 1n;
  }, 0n);
}

const payloads = process.argv.slice(2).map((name) => readFileSync(name)).map((data) => [unpack(stream(data)), data]);
const known = new Map(payloads.flatMap(([m, data]) => (Array.isArray(m[1]) ? [[hash(data), m[1]]] : [])));
for (const [m] of payloads) if (!Array.isArray(m[1])) print(m, known);
