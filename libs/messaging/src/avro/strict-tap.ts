import type { Type } from 'avsc';
// @ts-expect-error -- avsc's own reader has no types; its version is pinned, and the codec's tests read hostile bytes with it
import internals from 'avsc/lib/utils.js';

interface Tap {
  buf: Buffer;
  pos: number;
  readLong(): number;
}

const { Tap: LenientTap } = internals as { Tap: new (buffer: Buffer) => Tap };

/**
 * avsc looks for the end of its input only after it has read a value: ten bytes that announce 2^40 map entries keep it reading
 * nothing for hours. This one fails at the first number that is not there, and every entry of our records begins with one.
 */
class StrictTap extends LenientTap {
  override readLong(): number {
    const value = super.readLong();
    if (this.pos > this.buf.length) throw new RangeError('truncated');
    return value;
  }

  readInt(): number {
    return this.readLong();
  }
}

type Reader = { _read(tap: Tap): unknown };

/**
 * Reads `bytes`, written with the type `writer`, as `reader`. Both may be the same.
 * @throws Error when they are no such value, or more, or less
 */
export function readAvro(bytes: Buffer, reader: Type, writer: Type, resolver: object | null): unknown {
  const tap = new StrictTap(bytes);
  const source = (resolver ?? (reader === writer ? reader : writer)) as unknown as Reader;
  const value = source._read(tap);
  if (tap.pos > bytes.length) throw new RangeError('truncated');
  if (tap.pos < bytes.length) throw new RangeError(`${bytes.length - tap.pos} bytes too many`);
  return value;
}
