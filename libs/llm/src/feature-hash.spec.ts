import { contentWords, featureHash } from './feature-hash.js';
import { HashEmbedder } from './embedding.js';

/** Of vectors of length 1. */
const cosine = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

describe('contentWords', () => {
  it('folds case and width and drops punctuation and stop words', () => {
    expect(contentWords('The ＬＥＡＳＥ of a Worker, and its epoch!')).toEqual(['lease', 'worker', 'epoch']);
  });
});

describe('featureHash', () => {
  it('has length 1, and is zero without words', () => {
    const vector = featureHash('journal and lease');
    expect(vector).toHaveLength(384);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    expect(featureHash('— of the —').every((value) => value === 0)).toBe(true);
  });

  it('is the same on every machine', () => {
    const vector = featureHash('A worker claims the lease', 16);
    expect(Array.from(vector, (value) => Number(value.toFixed(4)))).toEqual([
      0.1909, 0, 0, -0.1909, -0.1909, -0.1909, 0, 0.3819, 0.3682, 0, -0.3819, 0.1909, 0.3227, -0.1909,
      -0.3819, -0.3227,
    ]);
  });

  it('puts texts that share words nearer than texts that do not', () => {
    const question = featureHash('How does a worker survive a crash?');
    const near = cosine(question, featureHash('A crashed worker is survived: its lease runs out.'));
    const far = cosine(question, featureHash('Charts are drawn with vega in a child process.'));
    expect(near).toBeGreaterThan(0.25);
    expect(Math.abs(far)).toBeLessThan(0.15);
  });

  it('sees parts of words and the order of words', () => {
    const text = featureHash('journal entries');
    expect(cosine(text, featureHash('journalled entry'))).toBeGreaterThan(0.25);
    expect(cosine(text, featureHash('entries journal'))).toBeLessThan(0.99);
  });

  it.each([0, 7, 4097, 12.5])('refuses %p dimensions', (dimensions) => {
    expect(() => featureHash('text', dimensions)).toThrow(RangeError);
  });
});

describe('HashEmbedder', () => {
  it('embeds in order and names its space', async () => {
    const sut = new HashEmbedder(64);
    const [first, second] = await sut.embed(['lease', 'journal']);
    expect(sut.name).toBe('feature-hash-v1-64');
    expect(first).toEqual(featureHash('lease', 64));
    expect(second).toEqual(featureHash('journal', 64));
  });
});
