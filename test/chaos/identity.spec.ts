import { setTimeout as sleep } from 'node:timers/promises';
import type { SpawnedService } from '#libs/devstack';
import { answer, ask, callTool, eventually } from '#libs/testing';
import { ChaosStack } from './chaos-stack.js';

jest.setTimeout(180_000);

let chaos: ChaosStack;
let agent: SpawnedService;
let gateway: SpawnedService;

beforeAll(async () => {
  chaos = await ChaosStack.start();
  agent = await chaos.stack.spawnAgent();
  gateway = await chaos.stack.spawnGateway({ 'agent-test': agent.grpcUrl });
});
afterAll(() => chaos?.stop());

const killIdentity = async () => {
  chaos.stack.identity.kill('SIGKILL');
  await chaos.stack.identity.exited;
};
const through = (userId: string) => chaos.stack.apiThrough(gateway, 'agent-test', { userId });

describe('the identity service is killed while tasks run', () => {
  it('who was there before goes on; who is new waits for it', async () => {
    const known = 'user-known';
    const warm = await chaos.script('warm', [callTool('test_record', { text: 'warm' }), answer('done')]);
    expect((await through(known).run({ prompt: warm })).body.status).toBe('completed');
    // A task of somebody for whom no service has a token yet: its agent will have to ask for one.
    const held = await chaos.script('held', [
      { ...callTool('test_record', { text: 'held effect' }), latency_ms: 2500 },
      answer('done'),
    ]);
    const heldId = await chaos.stack.api(agent, { userId: 'user-new' }).accepted({ prompt: held });
    await killIdentity();

    const again = await chaos.script('again', [callTool('test_record', { text: 'again' }), answer('done')]);
    expect((await through(known).run({ prompt: again })).body).toMatchObject({ status: 'completed' });
    const refused = await through('user-unknown').submit({ prompt: again });
    expect([refused.status, refused.body.code]).toEqual([503, 'identity-unavailable']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    // Longer than a tool call would be tried if this were the tool's fault.
    await sleep(8000);
    expect((await chaos.stack.api(agent, { userId: 'user-new' }).get(heldId)).body.status).toBe('running');

    await chaos.stack.restartIdentity();
    expect(await chaos.stack.api(agent, { userId: 'user-new' }).ended(heldId, 30_000)).toMatchObject({
      status: 'completed',
      output: 'done',
    });
    const effects = chaos.stack.tools.effects.filter(({ text }) => text === 'held effect');
    expect(effects).toEqual([expect.objectContaining({ userId: 'user-new' })]);
    expect((await through('user-unknown').run({ prompt: again })).body.status).toBe('completed');
  });

  it('a service that starts without it is not ready, and says why', async () => {
    await killIdentity();
    const lonely = await chaos.stack.spawnAgent({}, { until: 'health' });
    const { status, body } = await ask(`${lonely.url}/ready`, null);
    expect(status).toBe(503);
    expect((body['error'] as Record<string, unknown>)['identity']).toEqual({
      status: 'down',
      cause: expect.stringMatching(/cannot be read/),
      fix: expect.stringMatching(/IDENTITY_URL/),
    });
    const { status: submitted, body: problem } = await chaos.stack.api(lonely).submit({ prompt: 'x' });
    expect([submitted, problem.code]).toEqual([503, 'identity-unavailable']);
    await chaos.stack.restartIdentity();
    await eventually(
      () => ask(`${lonely.url}/ready`, null),
      (seen) => seen.status === 200,
    );
  });
});

it('keys that rotate under load refuse nobody', async () => {
  const prompt = await chaos.script('rotating', [callTool('test_echo', { text: 'x' }), answer('done')]);
  const operator = (await chaos.stack.tokens('cli').authorization('identity')).slice('Bearer '.length);
  const statuses = new Map<string, number>();
  let users = 0;
  let running = true;
  const load = async () => {
    while (running) {
      // A new user each time, so that every request needs tokens that nobody has yet.
      const { status, body } = await through(`user-${(users += 1)}`).run({ prompt });
      const seen = `${status} ${body.status ?? body.code}`;
      statuses.set(seen, (statuses.get(seen) ?? 0) + 1);
    }
  };
  const clients = Promise.all([load(), load(), load(), load()]);
  const signed = new Set<string>();
  for (let i = 0; i < 4; i += 1) {
    const rotated = await ask(`${chaos.stack.identity.url}/keys/rotate`, operator, { method: 'POST' });
    expect(rotated.status).toBe(200);
    await sleep(6000);
    const token = await chaos.stack.tokens('tests').authorization('agent-test');
    signed.add(Buffer.from(token.split('.')[0]!.slice('Bearer '.length), 'base64url').toString());
  }
  running = false;
  await clients;
  expect([...statuses.keys()]).toEqual(['200 completed']);
  expect(users).toBeGreaterThan(20);
  // Negative control: the keys did change.
  expect(signed.size).toBeGreaterThan(1);
});
