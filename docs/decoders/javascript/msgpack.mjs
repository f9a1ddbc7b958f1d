// As much msgpack as batches use: integers become BigInt, floats { bits }, which keeps every NaN, bin a Buffer.
export const big = (bytes) => BigInt("0x0" + bytes.toString("hex"));
export const range = (n, f) => Array.from({ length: Number(n) }, (_, i) => f(i));

export function unpack(b, at = { i: 0 }) {
  const take = (n) => b.subarray(at.i, (at.i += Number(n)));
  const list = (n) => range(n, () => unpack(b, at));
  const h = b[at.i++];
  if (h < 0x80 || h >= 0xe0) return BigInt(h < 0x80 ? h : h - 256);
  if (h >= 0x90 && h < 0xc0) return h < 0xa0 ? list(h & 15) : take(h & 31).toString();
  if (h === 0xc0) return null;
  if (h >= 0xc4 && h <= 0xc6) return take(big(take(1 << (h - 0xc4))));
  if (h === 0xca || h === 0xcb) return { bits: big(take(h === 0xca ? 4 : 8)) };
  if (h >= 0xcc && h <= 0xcf) return big(take(1 << (h - 0xcc)));
  if (h >= 0xd0 && h <= 0xd3) return BigInt.asIntN(8 << (h - 0xd0), big(take(1 << (h - 0xd0))));
  if (h >= 0xd9 && h <= 0xdb) return take(big(take(1 << (h - 0xd9)))).toString();
  return list(big(take(h === 0xdc ? 2 : 4)));
}

// Bit patterns of 4 bytes (type 7) or 8 to numbers, and back.
const scratch = new DataView(new ArrayBuffer(8));
export function float(kind, bits) {
  scratch.setBigUint64(0, bits);
  return kind === 7 ? scratch.getFloat32(4) : scratch.getFloat64(0);
}

export function pattern(kind, v) {
  if (kind === 7) return scratch.setFloat32(0, v), BigInt(scratch.getUint32(0));
  return scratch.setFloat64(0, v), scratch.getBigUint64(0);
}
