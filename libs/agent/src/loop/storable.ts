/** Escapes in JSON as `JSON.stringify` writes them; the first two kinds name NUL and halves of surrogate pairs. */
const ESCAPE = /\\(?:u0000|ud[89a-f][0-9a-f]{2}|.)/g;
const UNSTORABLE = /\\u(?:0000|d[89a-f])/;

/**
 * The same value with U+FFFD for every character that Postgres' json cannot hold. Applied where an entry is made, so that a run
 * and its replay see one text, and no model or tool can write what cannot be journalled.
 */
export function storable<T>(value: T): T {
  const json = JSON.stringify(value);
  if (!UNSTORABLE.test(json)) return value;
  return JSON.parse(json.replace(ESCAPE, (escape) => (escape.length > 2 ? '\\ufffd' : escape))) as T;
}
