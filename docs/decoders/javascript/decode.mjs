// fieldtap batches to JSON lines: node decode.mjs FILE... (data and schema payloads). Needs nothing but Node >= 18.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { big, float, pattern, range, unpack } from "./msgpack.mjs";

const QUALITIES = ["good", "stale", "comm-fail", "exception", "out-of-range", "clock-unknown", "substituted"];
const [F32, F64, TEXT] = [7, 8, 11]; // types; 2, 4 and 6 are signed integers, the others unsigned
const hash = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 16);

// The streams of the columns format: open() each group, then its times, then the values of its columns in order.
function streams(singles, doubles, ...texts) {
  const [heads, steps, text] = texts.map((b) => ({ b, i: 0 }));
  const [planes, firsts] = [{ [F32]: { b: singles, width: 4, i: 0 }, [F64]: { b: doubles, width: 8, i: 0 } }, {}];
  const take = (s, n) => s.b.subarray(s.i, (s.i += n));
  const unzigzag = (v) => (v >> 1n) ^ -(v & 1n);
  const varint = (s, before = 0n, shift = 0n) => {
    const byte = BigInt(s.b[s.i++]), v = before | ((byte & 127n) << shift);
    return byte < 128n ? unzigzag(v) : varint(s, v, shift + 7n);
  };
  const transposed = ({ b, width }, i) => // the i-th byte of every plane, the last plane holding the highest
    unzigzag(big(Buffer.from(range(width, (p) => b[(width - 1 - p) * (b.length / width) + i]))));
  let [modes, kinds] = [[], []];
  const open = (types) => {
    const floats = types.filter((t) => t === F32 || t === F64).length;
    modes = [...take(heads, (floats + 1) >> 1)].flatMap((byte) => [byte & 15, byte >> 4]);
    kinds = types;
  };
  const values = (kind, place, count) => {
    if (kind === TEXT) return range(count, () => take(text, Number(varint(steps))));
    const [mode, slot] = [kind === F32 || kind === F64 ? modes.shift() : undefined, `${kinds} ${place}`];
    const otherwise = mode === 0 ? (firsts[kind] ?? 0n) : 0n;
    let v = firsts[slot] && firsts[slot].mode === mode ? firsts[slot].v : otherwise;
    return range(count, (i) => {
      v = BigInt.asUintN(64, v + (mode === 0 ? transposed(planes[kind], planes[kind].i++) : varint(i ? steps : heads)));
      if (i === 0) [firsts[slot], firsts[mode === 0 ? kind : ""]] = [{ mode, v }, v];
      return mode ? pattern(kind, Number(BigInt.asIntN(64, v)) / 10 ** (mode - 1)) : v;
    });
  };
  return { open, time: () => varint(heads), values };
}

// The JSON of one value: raw is text, else 64 bits.
function fields([, type, scale, offset], raw, kind = Number(type)) {
  if (kind === TEXT && Buffer.from(raw.toString()).equals(raw)) return `"v":${JSON.stringify(raw.toString())}`;
  if (kind === TEXT) return `"v":${JSON.stringify(raw.toString("latin1"))},"bits":"${raw.toString("hex")}"`;
  const [m, b] = [float(F64, scale.bits), float(F64, offset.bits)];
  const bits = BigInt.asUintN(kind === F32 ? 32 : 64, raw);
  const integer = [2, 4, 6].includes(kind) ? BigInt.asIntN(64, bits) : bits;
  const isFloat = kind === F32 || kind === F64;
  if (!isFloat && m === 1 && b === 0) return `"v":${integer}`; // a Number keeps only 53 bits
  const v = (isFloat ? float(kind, bits) : Number(integer)) * m + b;
  if (Number.isFinite(v)) return `"v":${v}`;
  return `"v":null,"bits":"${bits.toString(16).padStart(kind === F32 ? 8 : 16, "0")}"`;
}

function* samples([, gateway, epoch, seq, flags, , codec, wrapped], schemas) {
  const body = codec ? unpack(inflateSync(wrapped)) : wrapped;
  const [floats, doubles, base, hashes, groups, heads, steps, text, , carried] = body;
  for (const schema of carried ?? []) schemas.set(hash(schema), schema);
  const tables = range(hashes.length / 8, (i) => schemas.get(hashes.toString("hex", 8 * i, 8 * i + 8)));
  const columnsOf = tables.flatMap((schema) => unpack(schema)[1]).map((table) => table[1]);
  let [reader, plain, next] = [streams(floats, doubles, heads, steps, text), !heads?.length, -1n];
  for (const group of groups) { // a bare number: that many rows of the next group, whole and good
    const [number, rows, there, runs, times, own] = Array.isArray(group) ? group : [next + 1n, group];
    const [columns, kinds] = [columnsOf[(next = number)], columnsOf[number].map((column) => Number(column[1]))];
    if (!plain) reader.open(kinds);
    let [step, now] = [0n, base * 1000000n];
    const t = range(rows, (i) => (now += step += plain ? times[i] : reader.time()));
    const cells = range(t.length * kinds.length, (i) => i).filter((i) => !there || (there[i >> 3] >> (i & 7)) & 1);
    const inRuns = runs ?? [0, 0, cells.length]; // quality, detail, count; nothing: all good
    const verdicts = inRuns.flatMap((q, i) => (i % 3 ? [] : range(inRuns[i + 2], () => [Number(q), inRuns[i + 1]])));
    const shown = {};
    columns.forEach((column, place) => {
      const mine = cells.filter((i, c) => i % kinds.length === place && [0, 5, 6].includes(verdicts[c][0]));
      const values = plain ? unpacked(kinds[place], own[place]) : reader.values(kinds[place], place, mine.length);
      mine.forEach((i, c) => (shown[i] = fields(column, values[c])));
    });
    for (const [c, i] of cells.entries()) {
      const [[tag, , , , unit], [q, detail]] = [columns[i % kinds.length], verdicts[c]];
      const line = JSON.stringify({ gateway, tag, q: QUALITIES[q], unit, epoch: epoch.toString("hex") }).slice(0, -1);
      const more = (q === 3 ? `,"code":${detail}` : "") + (flags & 1n ? `,"historical":true` : "");
      const time = Number(t[Math.floor(i / kinds.length)]) / 1e6;
      yield `${line},"t":${time},"seq":${seq}${more},${shown[i] ?? '"v":null'}}`;
    }
  }
}

function unpacked(kind, values, width = kind === F32 ? 4 : 8, sum = 0n) { // the plain format's columns
  if (kind === TEXT) return values;
  if (kind !== F32 && kind !== F64) return values.map((delta) => (sum += delta));
  if (Array.isArray(values)) return values.map((v) => v.bits);
  return range(values.length / width, (i) => big(values.subarray(i * width, (i + 1) * width))); // because one is NaN
}

const payloads = process.argv.slice(2).map((name) => readFileSync(name)).map((data) => [unpack(data), data]);
const known = new Map(payloads.filter(([m]) => Array.isArray(m[1])).map(([, data]) => [hash(data), data]));
for (const [m] of payloads) if (!Array.isArray(m[1])) for (const line of samples(m, known)) console.log(line);
