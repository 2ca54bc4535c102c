import { dot, fromBytes, toBytes, unit } from './vector-bytes.js';

describe('vectors in bytes', () => {
  it('keep their direction and get length 1', () => {
    const back = fromBytes(toBytes(Float32Array.of(3, 0, -4)));
    expect([...back].map((value) => Math.round(value * 1000) / 1000)).toEqual([0.6, 0, -0.8]);
  });

  it('are little-endian 32-bit floats', () => {
    expect(toBytes(Float32Array.of(0, 2)).toString('hex')).toBe('000000000000803f');
  });

  it('leave the zero vector as it is', () => {
    expect([...unit(new Float32Array(3))]).toEqual([0, 0, 0]);
  });

  it('have their cosine as dot product', () => {
    expect(dot(unit(Float32Array.of(1, 1)), unit(Float32Array.of(5, 0)))).toBeCloseTo(Math.SQRT1_2, 6);
  });
});
