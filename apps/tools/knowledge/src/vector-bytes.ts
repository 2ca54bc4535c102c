/** How vectors lie in the database: 32-bit floats, little-endian, scaled to length 1. */
export function toBytes(vector: Float32Array): Buffer {
  const scaled = unit(vector);
  return Buffer.from(scaled.buffer, scaled.byteOffset, scaled.byteLength);
}

/** A copy: the driver's buffers share memory with whole result sets. */
export function fromBytes(bytes: Buffer): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

/** The vector scaled to length 1, so that a cosine is a dot product; a zero vector stays one. */
export function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(dot(vector, vector));
  return length === 0 ? vector : vector.map((value) => value / length);
}

/** Of vectors with the same dimensions. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i]! * b[i]!;
  return sum;
}
