import avro, { type Type } from 'avsc';
import fc from 'fast-check';
import {
  DEAD_LETTERS_TOPIC,
  MESSAGE_KINDS,
  tasksTopic,
  RetryableError,
  type AgentTaskEvent,
  type MessageKind,
} from '#libs/contracts';
import { FINGERPRINT_HEADER, MAX_MESSAGE_BYTES, MessageCodec } from './codec.js';
import type { RegistrySchemas } from './registry.js';
import { messageSchemas } from './schemas.js';

const TOPIC = tasksTopic('agent-search');
const codec = new MessageCodec(null);
const schemaOf = (kind: MessageKind) => messageSchemas().get(kind)!;

const millis = fc.integer({ min: 0, max: 4_102_444_800_000 });
const task = fc.record({
  task_id: fc.uuid(),
  source_agent: fc.string(),
  target_agent: fc.string(),
  session_id: fc.string({ unit: 'grapheme' }),
  prompt: fc.string({ unit: 'grapheme', maxLength: 2000 }),
  // A key `__proto__` is lost: avsc writes maps into plain objects, which take it for something else.
  context: fc.dictionary(
    fc.string().filter((key) => key !== '__proto__'),
    fc.string({ unit: 'grapheme' }),
    { noNullPrototype: true },
  ),
  created_at: millis,
  max_steps: fc.option(fc.integer({ min: -2_147_483_648, max: 2_147_483_647 })),
  token_budget: fc.option(fc.nat()),
  deadline: fc.option(millis),
  reply_to: fc.option(fc.string()),
  stream_steps: fc.boolean(),
  retry_count: fc.nat(),
  last_error: fc.option(fc.string()),
}) satisfies fc.Arbitrary<AgentTaskEvent>;
const one: AgentTaskEvent = fc.sample(task, { numRuns: 1, seed: 7 })[0]!;

/** What a sender without a registry puts on the wire. */
const wire = (bytes: Buffer, id = 0) => {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(id, 1);
  return Buffer.concat([header, bytes]);
};
const byType = { ce_type: 'com.baton.agents.v1.AgentTaskEvent' };
const refused = (value: Buffer, headers: Record<string, string> = byType, topic = TOPIC) =>
  codec.decode(topic, value, headers).then(
    () => 'accepted',
    (error: { code?: string; retryable?: boolean }) => (error.retryable ? 'retryable' : error.code),
  );

describe('the Avro codec', () => {
  it('gives back what it was given', async () => {
    const check = async (body: AgentTaskEvent) => {
      const { value, headers } = codec.encode('AgentTaskEvent', body);
      expect(await codec.decode(TOPIC, value, headers)).toEqual({ kind: 'AgentTaskEvent', body });
    };
    await fc.assert(fc.asyncProperty(task, check), { numRuns: 300 });
  });

  it('writes the defaults of fields that are left out', async () => {
    const { task_id, source_agent, target_agent, session_id, prompt, created_at } = one;
    const least = { task_id, source_agent, target_agent, session_id, prompt, created_at };
    const { value, headers } = codec.encode('AgentTaskEvent', least);
    const { body } = await codec.decode(TOPIC, value, headers);
    expect(body).toMatchObject({ context: {}, max_steps: null, stream_steps: false, retry_count: 0 });
  });

  it('names the fields that do not fit, and none of their values', () => {
    const encode = () =>
      codec.encode('AgentTaskEvent', {
        ...one,
        prompt: 7,
        context: { a: 'secret', b: 1 },
        task_id: undefined,
      });
    expect(encode).toThrow(
      expect.objectContaining({
        code: 'avro-invalid',
        errors: ['task_id', 'prompt', 'context.b'].map((field) => expect.objectContaining({ field })),
      }),
    );
    expect(encode).not.toThrow(/secret/);
  });

  it('knows the schema by its fingerprint or by ce_type', async () => {
    const { value, headers } = codec.encode('AgentTaskEvent', one);
    expect(headers).toEqual({ [FINGERPRINT_HEADER]: schemaOf('AgentTaskEvent').fingerprint });
    expect((await codec.decode(TOPIC, value, byType)).body).toEqual(one);
    expect(await refused(value, {})).toBe('unknown-schema');
    expect(await refused(value, { [FINGERPRINT_HEADER]: 'ab'.repeat(32), ...byType })).toBe('unknown-schema');
    expect(await refused(wire(value.subarray(5), 77))).toBe('unknown-schema');
  });

  it('reads what an older or newer version with defaults wrote', async () => {
    const { json, type } = schemaOf('AgentTaskEvent');
    const record = json as object & { fields: unknown[] };
    const { fields } = record;
    const older = avro.Type.forSchema({ ...record, fields: fields.slice(0, 7) } as never);
    const newer = avro.Type.forSchema({
      ...record,
      fields: [{ name: 'hint', type: { type: 'array', items: 'string' }, default: [] }, ...fields],
    } as never);
    const types = new Map<number, Type>([
      [1, type],
      [2, older],
      [3, newer],
    ]);
    const versions = new MessageCodec({
      find: async (id: number) => types.get(id) ?? null,
    } as RegistrySchemas);
    const read = (id: number, body: object) =>
      versions.decode(TOPIC, wire(types.get(id)!.toBuffer(body), id), {});
    expect((await read(1, one)).body).toEqual(one);
    expect((await read(2, one)).body).toMatchObject({
      prompt: one.prompt,
      max_steps: null,
      stream_steps: false,
    });
    expect((await read(3, { ...one, hint: ['a', 'b'] })).body).toEqual(one);
  });

  it('does not call a message poison because the registry is away', async () => {
    const find = () => Promise.reject(new RetryableError('schema-registry-unavailable', 'away'));
    const away = new MessageCodec({ find } as unknown as RegistrySchemas);
    await expect(away.decode(TOPIC, wire(Buffer.alloc(1), 9), {})).rejects.toMatchObject({ retryable: true });
  });
});

describe('a message that the codec refuses', () => {
  const bytes = () => schemaOf('AgentTaskEvent').type.toBuffer(one);

  it.each<[string, () => Buffer, string]>([
    ['nothing', () => Buffer.alloc(0), 'avro-invalid'],
    ['JSON', () => Buffer.from(JSON.stringify(one)), 'avro-invalid'],
    [
      'another magic byte',
      () => Buffer.concat([Buffer.from([1]), wire(bytes()).subarray(1)]),
      'avro-invalid',
    ],
    ['only the head', () => wire(Buffer.alloc(0)), 'avro-invalid'],
    ['one byte too few', () => wire(bytes().subarray(0, -1)), 'avro-invalid'],
    ['one byte too many', () => wire(Buffer.concat([bytes(), Buffer.from([0])])), 'avro-invalid'],
    ['more than 1 MiB', () => wire(Buffer.alloc(MAX_MESSAGE_BYTES)), 'message-too-large'],
    ['a negative id', () => wire(bytes(), 0xffffffff), 'unknown-schema'],
  ])('%s', async (_, value, code) => {
    expect(await refused(value())).toBe(code);
  });

  it('a record that belongs into another topic', async () => {
    const { value, headers } = codec.encode('AgentTaskEvent', one);
    expect(await refused(value, headers, DEAD_LETTERS_TOPIC)).toBe('unexpected-message');
    expect(await refused(value, headers, 'somewhere.else')).toBe('unexpected-message');
  });

  it.each([
    ['map', 'AgentTaskEvent' as const, TOPIC, 5],
    ['array', 'DeadLetterEvent' as const, DEAD_LETTERS_TOPIC, 2],
  ])('a %s that announces 2^40 entries, at once', async (_, kind, topic, strings) => {
    const entries = Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0x40]);
    const hostile = wire(Buffer.concat([Buffer.alloc(strings), entries]));
    const before = performance.now();
    expect(await refused(hostile, { ce_type: schemaOf(kind).name }, topic)).toBe('avro-invalid');
    expect(performance.now() - before).toBeLessThan(500);
  });

  it('whatever bytes: it is refused or it is a record, and never a crash', async () => {
    const kinds = fc.constantFrom(...MESSAGE_KINDS);
    const damaged = fc.tuple(fc.uint8Array({ maxLength: 200 }), fc.nat(), fc.integer({ min: 0, max: 255 }));
    const check = async (kind: MessageKind, [noise, at, byte]: [Uint8Array, number, number]) => {
      const changed = bytes();
      changed[at % changed.length] = byte;
      for (const value of [wire(Buffer.from(noise)), wire(changed), Buffer.from(noise)])
        expect(['accepted', 'avro-invalid', 'unknown-schema', 'unexpected-message']).toContain(
          await refused(value, { ce_type: schemaOf(kind).name }),
        );
    };
    await fc.assert(fc.asyncProperty(kinds, damaged, check), { numRuns: 500 });
  });
});
