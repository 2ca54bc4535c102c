import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { Controller, HttpCode, Module, Post, Req, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { request } from 'undici';
import { createLogger } from '#libs/telemetry';
import { httpAdapter } from './http-adapter.js';
import { ProblemFilter } from './problem.filter.js';

@Controller()
class Echo {
  @Post(['', 'form'])
  @HttpCode(200)
  echo(@Req() request: FastifyRequest): object {
    return { body: shown(request.body) };
  }
}

@Module({ controllers: [Echo] })
class EchoModule {}

const MAX_BYTES = 10_000;
let app: INestApplication;
let url: string;
let port: number;
/** What the filter logs: by its level. */
const logged: string[] = [];

beforeAll(async () => {
  const adapter = httpAdapter({ maxBodyBytes: MAX_BYTES, formPaths: ['/form'] }, 1000);
  app = await NestFactory.create(EchoModule, adapter, {
    logger: false,
    bodyParser: false,
    forceCloseConnections: true,
  });
  const logger = createLogger('echo', 'silent');
  for (const level of ['debug', 'warn', 'error'] as const) logger[level] = () => void logged.push(level);
  app.useGlobalFilters(new ProblemFilter(logger));
  await app.listen(0, '127.0.0.1');
  url = await app.getUrl();
  port = Number(new URL(url).port);
});
afterAll(() => app.close());

/** A form as its pairs. */
const shown = (body: unknown) => (body instanceof URLSearchParams ? [...body] : (body ?? null));

async function post(
  body: string | Uint8Array<ArrayBuffer> | undefined,
  headers: Record<string, string> = { 'content-type': 'application/json' },
  path = '/',
) {
  const response = await fetch(url + path, { method: 'POST', headers, body });
  const answer = (await response.json()) as {
    code?: string;
    errors?: Array<{ field: string }>;
    body?: unknown;
  };
  return {
    status: response.status,
    code: answer.code,
    fields: answer.errors?.map(({ field }) => field),
    body: answer.body,
  };
}

const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;

describe('a body', () => {
  it.each<[string, string, unknown]>([
    ['an object', '{"a":[1,{"b":"ä"}],"c":null}', { a: [1, { b: 'ä' }], c: null }],
    ['an empty object', '{}', {}],
    ['an object with space around it', ' \n{"a":1}\t', { a: 1 }],
    ['an object after a byte order mark', '\uFEFF{"a":"\uFEFF"}', { a: '\uFEFF' }],
    ['64 levels', nested(64), JSON.parse(nested(64))],
    ['names that only look reserved', '{"__proto":1,"constructors":2}', { __proto: 1, constructors: 2 }],
    ['reserved names as values', '{"a":"__proto__"}', { a: '__proto__' }],
  ])('that is %s is read', async (_, text, value) => {
    expect(await post(text)).toMatchObject({ status: 200, body: value });
  });

  it('may be missing', async () => {
    expect(await post(undefined, {})).toMatchObject({ status: 200, body: null });
  });

  it.each(['application/json; charset=utf-8', 'Application/JSON', 'application/json;charset="UTF-8"'])(
    'of type %s is read',
    async (type) => {
      expect(await post('{}', { 'content-type': type })).toMatchObject({ status: 200 });
    },
  );

  it('may be compressed', async () => {
    expect(
      await post(gzipSync('{"a":1}'), { 'content-type': 'application/json', 'content-encoding': 'gzip' }),
    ).toMatchObject({
      status: 200,
      body: { a: 1 },
    });
  });
});

describe('400 malformed-request', () => {
  it.each<[string, string | Uint8Array<ArrayBuffer>]>([
    ['broken JSON', '{"a":'],
    ['two values', '{} {}'],
    ['only space', '   '],
    ['an array', '[{"a":1}]'],
    ['a text', '"a"'],
    ['a number', '1'],
    ['null', 'null'],
    ['invalid UTF-8', new Uint8Array([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d])],
    [
      'half a surrogate in UTF-8',
      new Uint8Array([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x7d]),
    ],
    ['NUL in a value', '{"a":{"b":"x\\u0000"}}'],
    ['NUL in a list', '{"a":["x\\u0000"]}'],
    ['NUL in a key', '{"a\\u0000":1}'],
    ['65 levels', nested(65)],
    ['4,000 levels', nested(4000)],
  ])('for %s', async (_, body) => {
    expect(await post(body)).toMatchObject({ status: 400, code: 'malformed-request' });
  });

  it('for a compressed body that is not', async () => {
    expect(
      await post('{}', { 'content-type': 'application/json', 'content-encoding': 'gzip' }),
    ).toMatchObject({
      status: 400,
      code: 'malformed-request',
    });
  });
});

describe('400 validation', () => {
  it('names every reserved key', async () => {
    expect(await post('{"__proto__":1,"a":{"constructor":{"b":1}},"c":[{"prototype":1}]}')).toEqual({
      status: 400,
      code: 'validation',
      fields: expect.arrayContaining(['__proto__', 'a.constructor', 'c.0.prototype']),
      body: undefined,
    });
    expect(({} as Record<string, unknown>)['b']).toBeUndefined();
  });

  it.each(['__proto__', 'constructor', 'prototype'])('knows %s, also deep', async (key) => {
    expect(await post(`{"a":[{"${key}":1}]}`)).toMatchObject({ status: 400, fields: [`a.0.${key}`] });
  });

  it.each(['{"\\u005f_proto__":1}', '{"__pro\\u0074o__":1}', '{"\\u005F\\u005F\\u0070roto__":1}'])(
    'knows a reserved key by its escapes: %s',
    async (text) => {
      expect(await post(text)).toMatchObject({ status: 400, code: 'validation', fields: ['__proto__'] });
    },
  );
});

describe('413 payload-too-large', () => {
  it('for a body beyond the limit, not for one at it', async () => {
    const sized = (bytes: number) => `{"a":"${'x'.repeat(bytes - 8)}"}`;
    expect(await post(sized(MAX_BYTES))).toMatchObject({ status: 200 });
    expect(await post(sized(MAX_BYTES + 1))).toMatchObject({ status: 413, code: 'payload-too-large' });
  });

  it('leaves the connection open: a client that still writes would lose the answer', async () => {
    const { statusCode, headers, body } = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: Buffer.alloc(8_000_000, 'x'),
    });
    expect(statusCode).toBe(413);
    expect(headers['connection']).not.toBe('close');
    await body.dump();
  });

  it('for a small body that unpacks to a large one', async () => {
    const bomb = gzipSync(`{"a":"${'x'.repeat(5_000_000)}"}`);
    expect(bomb.length).toBeLessThan(MAX_BYTES);
    expect(
      await post(bomb, { 'content-type': 'application/json', 'content-encoding': 'gzip' }),
    ).toMatchObject({
      status: 413,
      code: 'payload-too-large',
    });
  });
});

describe('415 unsupported-media-type', () => {
  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
    'application/json; charset=latin1',
    'application/jsonx',
  ])('for %s', async (type) => {
    expect(await post('{}', { 'content-type': type })).toMatchObject({
      status: 415,
      code: 'unsupported-media-type',
    });
  });

  it('for no type at all', async () => {
    expect(await post(new TextEncoder().encode('{}'), {})).toMatchObject({ status: 415 });
  });

  it('for an encoding that nobody knows', async () => {
    expect(await post('{}', { 'content-type': 'application/json', 'content-encoding': 'zip' })).toMatchObject(
      { status: 415 },
    );
  });
});

describe('408 request-timeout', () => {
  /** Sends `head`, then `rest` never. */
  const slow = (head: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(head));
      let answer = '';
      socket.on('data', (data) => (answer += data.toString()));
      socket.on('close', () => resolve(answer));
      socket.on('error', reject);
    });

  it.each([
    ['of known length', 'content-length: 100\r\n\r\n{"a":'],
    ['in chunks', 'transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n'],
  ])('for a body %s that does not come, and the connection ends', async (_, rest) => {
    const answer = await slow(`POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${rest}`);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('application/problem+json');
    expect(answer).toContain('"code":"request-timeout"');
    expect(answer).toMatch(/connection: close/i);
  });
});

describe('a client that leaves', () => {
  it.each([
    ['of known length', 'content-length: 100\r\n\r\n{"a":'],
    ['in chunks', 'transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n'],
    [
      'in compressed chunks',
      'content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n2\r\n\u001f\u008b\r\n',
    ],
  ])('in the middle of a body %s is no error of the service', async (_, rest) => {
    logged.length = 0;
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${rest}`, 'latin1');
    setTimeout(() => socket.destroy(), 50);
    while (logged.length === 0) await sleep(5);
    expect(logged).toEqual(['debug']);
  });
});

describe('a form, where one is taken', () => {
  const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
  const form = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = FORM) =>
    post(body, headers, '/form');

  it('is read with its repetitions, and with reserved names as names', async () => {
    expect(await form('a=1&a=2+3&__proto__=%C3%A4')).toMatchObject({
      status: 200,
      body: [
        ['a', '1'],
        ['a', '2 3'],
        ['__proto__', 'ä'],
      ],
    });
  });

  it.each<[string, number, string, string | Uint8Array<ArrayBuffer>, Record<string, string>]>([
    ['invalid UTF-8', 400, 'malformed-request', new Uint8Array([0x61, 0x3d, 0xff]), FORM],
    ['a NUL', 400, 'malformed-request', 'a=%00', FORM],
    ['JSON', 415, 'unsupported-media-type', '{}', { 'content-type': 'application/json' }],
    ['too much', 413, 'payload-too-large', `a=${'x'.repeat(MAX_BYTES)}`, FORM],
  ])('is refused: %s', async (_, status, code, body, headers) => {
    expect(await form(body, headers)).toMatchObject({ status, code });
  });

  it('is refused elsewhere', async () => {
    expect(await post('a=1', FORM)).toMatchObject({ status: 415, code: 'unsupported-media-type' });
  });
});
