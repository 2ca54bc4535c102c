import type { ToolOutcome } from '#libs/contracts';

/** Bytes of a tool's answer that the model may see. */
export const MAX_RESULT_BYTES = 262_144;

const SUCCESS_PREFIX = /^\s*\{\s*"ok"\s*:\s*true\s*,\s*"result"\s*:\s*/;

/** What a tool answered; of a `truncated` answer the first 256 KiB stay, as text, marked as truncated. */
export function readOutcome(bytes: Buffer, truncated: boolean): ToolOutcome {
  return truncated ? beginningOf(bytes.subarray(0, MAX_RESULT_BYTES)) : parseOutcome(bytes.toString());
}

function beginningOf(bytes: Buffer): ToolOutcome {
  // A character cut in half at the end is left out.
  const text = new TextDecoder().decode(bytes, { stream: true });
  if (!SUCCESS_PREFIX.test(text)) return invalid('its answer is too large and does not begin with a result');
  return { ok: true, result: text.replace(SUCCESS_PREFIX, ''), truncated: true };
}

function parseOutcome(text: string): ToolOutcome {
  let answer: Record<string, unknown> | null;
  try {
    answer = JSON.parse(text) as Record<string, unknown> | null;
  } catch {
    return invalid('its answer is not JSON');
  }
  if (answer?.['ok'] === true && 'result' in answer) return { ok: true, result: answer['result'] };
  if (answer?.['ok'] === false && typeof answer['code'] === 'string' && typeof answer['message'] === 'string')
    return { ok: false, code: answer['code'].slice(0, 64), message: answer['message'].slice(0, 4096) };
  return invalid('its answer is not an outcome');
}

function invalid(reason: string): ToolOutcome {
  return { ok: false, code: 'tool-output-invalid', message: `The tool broke its contract: ${reason}` };
}
