import { Metadata } from '@grpc/grpc-js';
import type { ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ApiKeys } from './api-keys.js';
import { Authentication } from './authentication.js';
import { unauthenticated } from './claims.js';
import { bearer, FakeServer, ISSUER, json, newKey } from './issuer.fixture.js';
import { AllowCallers, callerOf, Public, ScopeGuard, Scopes, TokenGuard } from './token.guard.js';
import { TokenVerifier } from './token-verifier.js';

class Routes {
  plain(this: void) {}
  @Public() open(this: void) {}
  @AllowCallers('tools-*') narrow(this: void) {}
  @Scopes('tasks:write') writing(this: void) {}
  @Scopes('tasks:read', 'admin') ruling(this: void) {}
}

const key = newKey();
const verifier = new TokenVerifier(
  {
    find: async (kid) => {
      if (kid === key.kid) return key.publicKey;
      throw unauthenticated('unknown');
    },
    ready: async () => undefined,
  },
  ISSUER,
);

const routes = Routes.prototype;
const guard = (allowedCallers: string[] | null = null, apiKeys: ApiKeys | null = null) =>
  new TokenGuard(
    new Authentication(verifier, 'a-service', apiKeys),
    { service: 'a-service', allowedCallers },
    new Reflector(),
  );

const http = (headers: Record<string, string>, handler: () => void = routes.plain) =>
  ({
    getType: () => 'http',
    getHandler: () => handler,
    getClass: () => Routes,
    switchToHttp: () => ({ getRequest: () => headersOf(headers) }),
  }) as unknown as ExecutionContext;
/** One request object per headers object, as one request has one. */
const requests = new WeakMap<object, object>();
function headersOf(headers: object): object {
  if (!requests.has(headers)) requests.set(headers, { headers });
  return requests.get(headers)!;
}

const grpc = (metadata: unknown, handler: () => void = routes.plain) =>
  ({
    getType: () => 'rpc',
    getHandler: () => handler,
    getClass: () => Routes,
    switchToRpc: () => ({ getContext: () => metadata }),
  }) as unknown as ExecutionContext;

const UNAUTHENTICATED = expect.objectContaining({ code: 'unauthenticated', status: 401 });
const FORBIDDEN = expect.objectContaining({ code: 'forbidden', status: 403 });

describe('the guard', () => {
  it('lets an HTTP request with a token in, and knows whose it is', async () => {
    const context = http({ authorization: await bearer(key) });
    expect(await guard().canActivate(context)).toBe(true);
    expect(callerOf(context)).toMatchObject({ caller: 'ada', tenant: 'acme' });
  });

  it('lets a gRPC call with a token in its metadata in, and knows whose it is', async () => {
    const metadata = new Metadata();
    metadata.set('authorization', await bearer(key));
    const context = grpc(metadata);
    expect(await guard().canActivate(context)).toBe(true);
    expect(callerOf(context)).toMatchObject({ caller: 'ada', tenant: 'acme' });
  });

  it.each<[string, () => ExecutionContext]>([
    ['HTTP without a token', () => http({})],
    ['gRPC without a token', () => grpc(new Metadata())],
    ['a message without a context', () => grpc(undefined)],
    ['a message with a context of another kind', () => grpc({ authorization: 'Bearer x' })],
    [
      'an API key where none are taken',
      () => http({ 'x-api-key': `baton_${'0'.repeat(16)}_${'0'.repeat(64)}` }),
    ],
  ])('refuses %s', async (_, context) => {
    await expect(guard().canActivate(context())).rejects.toEqual(UNAUTHENTICATED);
  });

  it('asks nothing at an open route', async () => {
    expect(await guard([]).canActivate(http({}, routes.open))).toBe(true);
  });

  it('asks who calls, the route before the service', async () => {
    const tool = { authorization: await bearer(key, { sub: 'tools-x', user: undefined }) };
    const gateway = { authorization: await bearer(key, { act: { sub: 'gateway' } }) };
    expect(await guard(['gateway']).canActivate(http({ ...gateway }))).toBe(true);
    await expect(guard(['gateway']).canActivate(http({ ...tool }))).rejects.toEqual(FORBIDDEN);
    expect(await guard(['gateway']).canActivate(http({ ...tool }, routes.narrow))).toBe(true);
    await expect(guard(['gateway']).canActivate(http({ ...gateway }, routes.narrow))).rejects.toEqual(
      FORBIDDEN,
    );
  });

  it("refuses a person's token where a service's belongs, whatever the name", async () => {
    const authorization = await bearer(key, { sub: 'gateway', user: 'gateway' });
    await expect(guard(['gateway']).canActivate(http({ authorization }))).rejects.toEqual(FORBIDDEN);
  });

  /** The guard of the service, then that of the route. */
  const letIn = async (context: ExecutionContext) =>
    (await guard().canActivate(context)) && new ScopeGuard(new Reflector()).canActivate(context);

  it('asks for every scope, and says which is missing', async () => {
    const reader = { authorization: await bearer(key, { scope: 'tasks:read' }) };
    const admin = { authorization: await bearer(key, { scope: 'admin' }) };
    await expect(letIn(http({ ...reader }, routes.writing))).rejects.toMatchObject({
      code: 'forbidden',
      status: 403,
      headers: { 'www-authenticate': 'Bearer error="insufficient_scope", scope="tasks:write"' },
    });
    await expect(letIn(http({ ...reader }, routes.ruling))).rejects.toEqual(FORBIDDEN);
    for (const route of [routes.writing, routes.ruling])
      expect(await letIn(http({ ...admin }, route))).toBe(true);
  });
});

describe('API keys', () => {
  const KEY = `baton_${'0'.repeat(16)}_${'1'.repeat(64)}`;
  const ADDRESS = '192.0.2.1';
  let server: FakeServer;
  let apiKeys: ApiKeys;

  beforeEach(async () => {
    server = await FakeServer.start();
    const token = (await bearer(key)).slice('Bearer '.length);
    server.handle = (response) => json(response, { access_token: token, expires_in: 300 });
    apiKeys = ApiKeys.at({ identityUrl: server.url, clientId: 'a-service', clientSecret: 's' });
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await apiKeys.onApplicationShutdown();
    server.stop();
  });

  it.each<Record<string, string>>([{ authorization: `Bearer ${KEY}` }, { 'x-api-key': KEY }])(
    'come as %j',
    async (headers) => {
      const context = http(headers);
      await guard(null, apiKeys).canActivate(context);
      expect(callerOf(context)).toMatchObject({ caller: 'ada', tenant: 'acme' });
      expect(Object.fromEntries(server.requests[0]!.form)).toMatchObject({
        audience: 'a-service',
        subject_token: KEY,
        subject_token_type: 'urn:baton:params:oauth:token-type:api-key',
      });
    },
  );

  it('are asked for once in 30 s, by many at once too', async () => {
    await Promise.all(Array.from({ length: 10 }, () => apiKeys.authorization(KEY, ADDRESS)));
    await apiKeys.authorization(KEY, ADDRESS);
    expect(server.requests).toHaveLength(1);
    // The cache looks at the clock once a millisecond.
    await new Promise((resolve) => setTimeout(resolve, 5));
    const [date, monotonic] = [Date.now() + 31_000, performance.now() + 31_000];
    jest.spyOn(Date, 'now').mockReturnValue(date);
    jest.spyOn(performance, 'now').mockReturnValue(monotonic);
    server.handle = (response) => json(response, { error: 'invalid_grant' }, 400);
    await expect(apiKeys.authorization(KEY, ADDRESS)).rejects.toEqual(UNAUTHENTICATED);
  });

  it('that are refused are not asked for again and again', async () => {
    server.handle = (response) => json(response, { error: 'invalid_grant' }, 400);
    for (let i = 0; i < 5; i += 1)
      await expect(apiKeys.authorization(KEY, ADDRESS)).rejects.toEqual(UNAUTHENTICATED);
    expect(server.requests).toHaveLength(1);
  });

  it('whose look-up failed are asked for again at once', async () => {
    const before = server.handle;
    server.handle = (response) => response.writeHead(503).end();
    await expect(apiKeys.authorization(KEY, ADDRESS)).rejects.toMatchObject({ code: 'identity-unavailable' });
    server.handle = before;
    await apiKeys.authorization(KEY, ADDRESS);
  });

  it('stand at a door where a flood of wrong tokens is cut off, and right ones that are known go on', async () => {
    const door = guard(null, apiKeys);
    const verify = jest.spyOn(verifier, 'verify');
    const right = { authorization: await bearer(key) };
    expect(await door.canActivate(http({ ...right }))).toBe(true);
    for (const headers of [{}, ...Array<object>(299).fill({ authorization: 'Bearer x.y.z' })])
      await expect(door.canActivate(http({ ...headers }))).rejects.toMatchObject({
        status: 401,
        headers: { 'RateLimit-Policy': '"failures";q=300;w=60', 'www-authenticate': 'Bearer' },
      });
    const asked = verify.mock.calls.length;
    const refused = { authorization: await bearer(key, { sub: 'eve' }) };
    for (const headers of [refused, { authorization: 'Bearer x.y.z' }, {}])
      await expect(door.canActivate(http({ ...headers }))).rejects.toMatchObject({
        status: 429,
        headers: { RateLimit: expect.stringMatching(/^"failures";r=0;t=\d+$/) as string },
      });
    expect(verify).toHaveBeenCalledTimes(asked);
    expect(await door.canActivate(http({ ...right }))).toBe(true);
    await door.canActivate(http({ 'x-api-key': KEY }));
  });

  it('stand at a door where right tokens wait for their key together, and none of them fails', async () => {
    const door = guard(null, apiKeys);
    const tokens = await Promise.all(
      Array.from({ length: 301 }, (_, i) => bearer(key, { sub: `user-${i}` })),
    );
    const calls = tokens.map((authorization) => door.canActivate(http({ authorization })));
    expect(new Set(await Promise.all(calls))).toEqual(new Set([true]));
  });

  it.each(['', 'baton_', 'baton_x_y', `${KEY}0`, KEY.toUpperCase(), `${KEY}\n`])(
    'do not look like %j, which nobody is asked about',
    async (text) => {
      await expect(apiKeys.authorization(text, ADDRESS)).rejects.toEqual(UNAUTHENTICATED);
      expect(server.requests).toHaveLength(0);
    },
  );
});
