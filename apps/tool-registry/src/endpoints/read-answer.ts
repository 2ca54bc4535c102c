import type { Dispatcher } from 'undici';
import type { ToolOutcome } from '#libs/contracts';

/** Bytes of a tool's answer that the model may see. */
export const MAX_RESULT_BYTES = 262_144;

const SUCCESS_PREFIX = /^\s*\{\s*"ok"\s*:\s*true\s*,\s*"result"\s*:\s*/;

/** Reads at most 256 KiB of a tool's answer; of a longer one the beginning stays, as text, marked as truncated. */
export async function readOutcome(body: Dispatcher.ResponseData['body']): Promise<ToolOutcome> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_RESULT_BYTES) {
      body.destroy();
      return truncated(Buffer.concat(chunks).subarray(0, MAX_RESULT_BYTES));
    }
  }
  return parseOutcome(Buffer.concat(chunks).toString('utf8'));
}

function truncated(bytes: Buffer): ToolOutcome {
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
