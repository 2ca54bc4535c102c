import { setTimeout as sleep } from 'node:timers/promises';
import type { Principal, Tokens } from '#libs/auth';
import type { agentsV1 } from '#libs/contracts';
import { AgentClient } from './agent-client.js';
import { breakOff, FakeAgent } from './fake-agent.fixture.js';

const BY = { caller: {} as Principal, signal: new AbortController().signal };
const ANSWER = { task_id: 't', status: 'running' };
const TASK = { prompt: 'x' } as agentsV1.TaskRequest;
const UNREACHABLE = expect.objectContaining({ code: 'unreachable', status: 503 });

let agents: FakeAgent[];
let client: AgentClient;

beforeEach(async () => {
  agents = await Promise.all([FakeAgent.start(), FakeAgent.start()]);
});
afterEach(() => {
  jest.restoreAllMocks();
  client.onApplicationShutdown();
  for (const agent of agents) agent.die();
});

function ask(...asked: FakeAgent[]): AgentClient {
  const urls = new Map([['agent-a', `grpc://ipv4:${asked.map(({ address }) => address).join(',')}`]]);
  const tokens = { authorization: async () => 'Bearer x' } as unknown as Tokens;
  const tls = { GRPC_TLS_CERT: '', GRPC_TLS_KEY: '', GRPC_TLS_CA: '' };
  client = new AgentClient({ urls, tls }, tokens);
  return client;
}

const until = async (condition: () => boolean) => {
  for (let i = 0; i < 500 && !condition(); i += 1) await sleep(10);
  expect(condition()).toBe(true);
};

describe('an agent with two addresses', () => {
  it('is asked at both in turn', async () => {
    ask(...agents);
    // One of the connections may be there before the other.
    await until(() => {
      client.get('agent-a', 't', BY).catch(() => undefined);
      return agents.every(({ requests }) => requests.length > 0);
    });
    await sleep(100);
    const before = agents.map(({ requests }) => requests.length);
    for (let i = 0; i < 10; i += 1) await client.get('agent-a', 't', BY);
    expect(agents.map(({ requests }, i) => requests.length - before[i]!)).toEqual([5, 5]);
  });

  it.each(['get', 'submit', 'run'] as const)(
    'answers although one dies in the middle of a %s',
    async (what) => {
      const [first, second] = agents;
      const dying = first!;
      second!.answer = () => ANSWER;
      let died = false;
      dying.answer = async () => {
        died = true;
        dying.die();
        return sleep(1000, ANSWER);
      };
      ask(...agents);
      while (!died)
        if (what === 'get') await client.get('agent-a', 't', BY);
        else if (what === 'submit') await client.submit('agent-a', TASK, BY);
        else await client.run('agent-a', TASK, 1000, BY);
      // It has gone: nobody notices.
      for (let i = 0; i < 20; i += 1) expect(await client.get('agent-a', 't', BY)).toMatchObject(ANSWER);
      if (what === 'get') return;
      // The same task, so that it cannot be there twice.
      const lost = dying.requests.at(-1)!.request;
      expect(lost.task_id).toMatch(/^[0-9a-f-]{36}$/);
      expect(second!.requests.map(({ request }) => request.task_id)).toContain(lost.task_id);
    },
  );

  it('gets no id for a task whose client has a key for it', async () => {
    const [only] = agents;
    only!.answer = () => ANSWER;
    await ask(only!).submit('agent-a', { ...TASK, idempotency_key: 'k' }, BY);
    expect(only!.requests[0]!.request).toMatchObject({ idempotency_key: 'k' });
    expect(only!.requests[0]!.request.task_id).toBeFalsy();
  });
});

it('an agent that is not there is unreachable', async () => {
  const [only] = agents;
  only!.die();
  await expect(ask(only!).get('agent-a', 't', BY)).rejects.toEqual(UNREACHABLE);
});

describe('a stream of steps', () => {
  let skew: number;
  beforeEach(() => {
    skew = 0;
    const now = performance.now.bind(performance);
    jest.spyOn(performance, 'now').mockImplementation(() => now() + skew);
  });

  /** Reads on its own. */
  async function reading(agent: FakeAgent) {
    const seen: string[] = [];
    const steps = await ask(agent).steps('agent-a', 't', 0, BY);
    const ended = (async () => {
      for await (const { type } of steps) seen.push(type);
    })();
    ended.catch(() => undefined);
    return { seen, ended };
  }
  const attached = (agent: FakeAgent, times: number) => until(() => agent.streams.length === times);

  it('that breaks now and then goes on, however quiet it is in between', async () => {
    const agent = agents[0]!;
    const { seen, ended } = await reading(agent);
    for (let times = 1; times < 4; times += 1) {
      breakOff(agent.streams.at(-1)!);
      await attached(agent, times + 1);
      // The gateway has to see that it is attached, before time passes.
      await sleep(100);
      skew += 30_000;
    }
    agent.streams.at(-1)!.write({ type: 'finish', sequence: 1 });
    agent.streams.at(-1)!.end();
    await ended;
    expect(seen).toEqual(['finish']);
  });

  it('is cut when nobody has answered for 20 s', async () => {
    const agent = agents[0]!;
    const { ended } = await reading(agent);
    agent.die();
    await sleep(600);
    skew += 10_000;
    await expect(Promise.race([ended, sleep(400, 'going on')])).resolves.toBe('going on');
    skew += 10_000;
    await expect(ended).rejects.toEqual(UNREACHABLE);
  });

  it('is cut when all that is attached breaks at once, for 20 s', async () => {
    const agent = agents[0]!;
    agent.onStream = (stream) => {
      skew += 6000;
      breakOff(stream);
    };
    const { ended } = await reading(agent);
    await expect(ended).rejects.toEqual(UNREACHABLE);
    expect(agent.streams.length).toBeLessThan(8);
  });
});
