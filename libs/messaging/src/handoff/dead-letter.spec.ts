import { TerminalError, type AgentTaskEvent, type MessageKind } from '#libs/contracts';
import { MAX_MESSAGE_BYTES, MessageCodec } from '../avro/codec.js';
import { barestLetter, deadLetterOf, unsendable } from './dead-letter.js';
import type { IncomingMessage, PoisonMessage } from './handoff.js';

const MEGABYTE = 1_048_576;
/** Three bytes and one UTF-16 unit each. */
const long = '€'.repeat(MEGABYTE / 2);
const codec = new MessageCodec(null);
const bytesOf = (body: object) => codec.encode('DeadLetterEvent', body).value.length;

const task = (more: Partial<AgentTaskEvent> = {}): AgentTaskEvent => ({
  task_id: 'id',
  source_agent: 'orchestrator',
  target_agent: 'agent-search',
  session_id: 's',
  prompt: 'p',
  context: {},
  created_at: 1,
  max_steps: null,
  token_budget: null,
  deadline: null,
  reply_to: null,
  stream_steps: false,
  retry_count: 0,
  last_error: null,
  ...more,
});

function poison(more: { body?: AgentTaskEvent; key?: string; headers?: Record<string, string> } = {}) {
  const { body, key = 's', headers = {} } = more;
  const raw = { id: 'm', topic: 't', partition: 1, offset: '7', key, headers, value: Buffer.alloc(MEGABYTE) };
  const cause = new TerminalError('validation', long, {
    errors: [
      ...Array.from({ length: 50_000 }, () => ({ field: 'f', message: 'm' })),
      { field: long, message: 'm' },
    ],
  });
  const message = body ? ({ ...raw, kind: 'AgentTaskEvent', body } as unknown as IncomingMessage) : null;
  return { raw, message, code: 'validation', cause } as PoisonMessage;
}

describe('a dead letter', () => {
  const headers = {
    ...Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`h${i}`, ''])),
    ...Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`long${i}`, long.slice(0, 5000)])),
  };
  const fields: Array<keyof AgentTaskEvent> = ['task_id', 'session_id', 'target_agent', 'prompt'];

  it.each<[string, PoisonMessage]>([
    ['that nobody could read', poison({ key: long, headers })],
    ...fields.map((field): [string, PoisonMessage] => [
      `with an endless ${field}`,
      poison({ body: task({ [field]: long }), key: long, headers }),
    ]),
    [
      'of a task as large as fits',
      poison({ body: task({ prompt: 'p'.repeat(917_000) }), key: long, headers }),
    ],
  ])('of a message %s fits into a message', (_, given) => {
    expect(bytesOf(deadLetterOf(given, 'agent-search'))).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
  });

  it('of what cannot be sent fits, too', () => {
    for (const kind of ['AgentTaskEvent', 'AgentResultEvent'] satisfies MessageKind[])
      for (const body of [task({ prompt: long }), task({ task_id: long, prompt: 'p'.repeat(900_000) })]) {
        const message = { id: 'm', destination: long, kind, key: long, body };
        const letter = unsendable(message, new TerminalError('message-too-large', long), 'agent-search');
        expect(bytesOf(letter)).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
      }
  });

  it('keeps any task that is valid, or else the beginning of the message', () => {
    const body = task({ prompt: '€'.repeat(100_000), context: { key: '€'.repeat(60_000) } });
    const kept = deadLetterOf(poison({ body }), 'agent-search');
    expect([kept.task_json, kept.payload]).toEqual([JSON.stringify(body), null]);
    const cut = deadLetterOf(poison({ body: task({ prompt: long }) }), 'agent-search');
    expect([cut.task_json, cut.payload?.length, cut.payload_bytes]).toEqual([null, 349_528, MEGABYTE]);
  });

  it('has a barest form whatever there was', () => {
    for (const body of [{}, { reason: 5, task_id: long, errors: 'x', created_at: 'now' }])
      expect(bytesOf(barestLetter(body, 'agent-search'))).toBeLessThan(10_000);
  });
});
