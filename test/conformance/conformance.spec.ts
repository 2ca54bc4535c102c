import { randomUUID } from 'node:crypto';
import type { AgentResult } from '#libs/contracts';
import { kafkaSkip, startThrowawayKafka, type SpawnedService, type ThrowawayKafka } from '#libs/devstack';
import { answer, callTool, eventually, forgedTokens, TestStack, type ScenarioStep } from '#libs/testing';
import { BAD_REQUESTS } from './bad-requests.js';
import { accepted, isRefusal, type Door, type Refusal, type TaskRequest } from './doors/door.js';
import { GrpcDoor } from './doors/grpc.door.js';
import { HandoffDoor } from './doors/handoff.door.js';
import { RestDoor } from './doors/rest.door.js';
import { BullWire, KafkaWire } from './doors/wire.js';
import { Report } from './report.js';

jest.setTimeout(120_000);

const noKafka = kafkaSkip();
if (noKafka) process.stderr.write(`SKIPPED Kafka's column of ${__filename}: ${noKafka}\n`);

const DOORS = ['REST', 'gRPC', 'Kafka', 'BullMQ'] as const;
type DoorName = (typeof DOORS)[number];
/** Tasks that may wait per tenant: few, so that a test can fill them. */
const MAX_BACKLOG = 30;

/** One agent with its doors; an agent has either Kafka or BullMQ behind its hand-off. */
interface Site {
  stack: TestStack;
  agent: SpawnedService;
}

const doors = new Map<DoorName, Door & { site: Site }>();
const report = new Report(DOORS);
let kafka: ThrowawayKafka | undefined;

beforeAll(async () => {
  kafka = noKafka ? undefined : await startThrowawayKafka();
  const main = await openSite(kafka ? { KAFKA_BROKERS: kafka.brokers } : {});
  const second = await openSite({});
  const add = (name: DoorName, door: Door, site: Site) => doors.set(name, Object.assign(door, { site }));
  add('REST', new RestDoor(main.stack, main.agent), main);
  add('gRPC', new GrpcDoor(main.stack, main.agent), main);
  const handoff = (name: DoorName, { stack }: Site, wire: KafkaWire | BullWire) =>
    HandoffDoor.open(name, stack, wire);
  if (kafka) add('Kafka', await handoff('Kafka', main, new KafkaWire(kafka.brokers)), main);
  add('BullMQ', await handoff('BullMQ', second, new BullWire(second.stack.infrastructure.redisUrl)), second);
});

afterAll(async () => {
  await Promise.all([...doors.values()].map((door) => door.close()));
  await Promise.all(
    [...new Set([...doors.values()].map(({ site }) => site.stack))].map((stack) => stack.stop()),
  );
  await kafka?.stop();
  process.stdout.write(`\nConformance of the doors\n${report.text()}\n\n`);
});

async function openSite(env: Record<string, string>): Promise<Site> {
  const stack = await TestStack.start(env);
  const agent = await stack.spawnAgent({ MAX_BACKLOG: String(MAX_BACKLOG), RECONCILE_MS: '500' });
  return { stack, agent };
}

const unique = (() => {
  let count = 0;
  return (name: string) => `${name}-${(count += 1)}`;
})();

/** What the same script makes of a task, whoever brought it. */
const SCRIPTS: Record<
  string,
  { steps: ScenarioStep[]; request?: { max_steps?: number; token_budget?: number } }
> = {
  'one answer': { steps: [answer('Forty-two.')] },
  'two tools at once, then an answer': {
    steps: [
      { tool_calls: ['a', 'b'].map((text) => ({ name: 'test_echo', arguments: { text } })) },
      answer('Both have answered.'),
    ],
  },
  'a tool that fails': { steps: [callTool('test_fail', { text: 'no' }), answer('It did not work.')] },
  'no end of tool calls': {
    steps: [callTool('test_echo', { text: 'again' })],
    request: { max_steps: 2 },
  },
  'filtered content': { steps: [{ ...answer('…'), finish_reason: 'content_filter' }] },
  'an answer without end': { steps: [{ ...answer('and so on'), finish_reason: 'length' }] },
};
const results = new Map<string, Map<string, Partial<AgentResult>>>();

/** A result without what differs from task to task. */
function comparable({
  status,
  output,
  error,
  steps_used,
  tokens_used,
  tool_calls,
}: AgentResult): Partial<AgentResult> {
  return { status, output, error, steps_used, tokens_used, tool_calls };
}

const refusal = (code: string): Partial<Refusal> =>
  expect.objectContaining({ refused: code }) as Partial<Refusal>;

for (const name of DOORS)
  (name === 'Kafka' && noKafka ? describe.skip : describe)(`through ${name}`, () => {
    let door: Door;
    let stack: TestStack;
    beforeAll(() => {
      const opened = doors.get(name)!;
      door = opened;
      ({ stack } = opened.site);
    });

    /** One row of the table. */
    const row = (what: string, test: () => Promise<void>) =>
      // oxlint-disable-next-line jest/valid-title, jest/expect-expect -- the rows say and expect
      it(what, async () => {
        report.note(what, name, '✗');
        await test();
        report.note(what, name, '✓');
      });
    const script = (steps: ScenarioStep[]) => stack.scenario({ name: unique(name.toLowerCase()), steps });
    /** A task that stays in a tool until it is released. */
    const holding = async () => {
      const text = unique(`held-${name}`);
      const prompt = await script([callTool('test_hold', { text }), answer('let go')]);
      return {
        prompt,
        reached: () => eventually(() => stack.tools.calls['test_hold']!.includes(text)),
        release: () => stack.tools.release(text),
        aborted: () => eventually(() => stack.tools.aborted.includes(text)),
      };
    };

    row('a task is accepted, done and told', async () => {
      const taskId = accepted(await door.submit({ prompt: await script([answer('done')]) }));
      expect(await door.result(taskId)).toMatchObject({
        task_id: taskId,
        status: 'completed',
        output: 'done',
      });
    });

    row('the same request has the same result', async () => {
      for (const [what, { steps, request }] of Object.entries(SCRIPTS)) {
        const usage = { prompt_tokens: 50, completion_tokens: 10 };
        const prompt = await script(steps.map((step) => ({ usage, ...step })));
        const taskId = accepted(await door.submit({ prompt, ...request }));
        const known = results.get(what) ?? new Map<string, Partial<AgentResult>>();
        results.set(what, known.set(name, comparable(await door.result(taskId))));
      }
      for (const [what, byDoor] of results) {
        const [first] = byDoor.values();
        expect({ [what]: byDoor.get(name) }).toEqual({ [what]: first });
      }
    });

    row('bad input is refused, its fields named', async () => {
      for (const [what, request, code, fields] of BAD_REQUESTS) {
        const said = await door.submit(request);
        const named = isRefusal(said) ? { ...said, fields: said.fields.toSorted() } : said;
        expect({ [what]: named }).toEqual({ [what]: { refused: code, fields } });
      }
    });

    row('asked again it is the same task, once', async () => {
      const text = unique(`once-${name}`);
      const request = {
        prompt: await script([callTool('test_record', { text }), answer('recorded')]),
        key: randomUUID(),
      };
      const ids = [await door.submit(request), await door.submit(request), await door.submit(request)].map(
        accepted,
      );
      expect(new Set(ids).size).toBe(1);
      await door.result(ids[0]!);
      expect(accepted(await door.submit(request))).toBe(ids[0]);
      expect(stack.tools.effects.filter((effect) => effect.text === text)).toHaveLength(1);
    });

    row('another request under the same key is refused', async () => {
      const request = { prompt: await script([answer('first')]), key: randomUUID() };
      accepted(await door.submit(request));
      expect(await door.submit({ ...request, prompt: `${request.prompt} or not` })).toEqual(
        refusal('idempotency-key-reused'),
      );
    });

    row('every step is told, in order', async () => {
      const steps = [callTool('test_echo', { text: 'a' }), callTool('test_echo', { text: 'b' }), answer('c')];
      const taskId = accepted(await door.submit({ prompt: await script(steps) }));
      await door.result(taskId);
      const kinds = ['model', 'tools', 'model', 'tools', 'model', 'finish'];
      // The last reply and the result are one commit: where both are told is the journal's business.
      const told = await door.steps(taskId);
      expect(told.map(({ kind }) => kind)).toEqual(kinds);
      expect(told.map(({ sequence }) => sequence)).toEqual(kinds.map((_, i) => i + 1));
    });

    row('a running task is cancelled, its tool aborted', async () => {
      const held = await holding();
      const taskId = accepted(await door.submit({ prompt: held.prompt }));
      await held.reached();
      expect(await door.cancel(taskId)).toEqual({ status: 'cancelled' });
      await held.aborted();
      expect(await door.result(taskId)).toMatchObject({ status: 'cancelled', error: 'cancelled' });
    });

    row('a finished task stays what it is', async () => {
      const taskId = accepted(await door.submit({ prompt: await script([answer('over')]) }));
      await door.result(taskId);
      const said = await door.cancel(taskId);
      expect([refusal('task-finished'), { status: 'completed' }]).toContainEqual(said);
      expect(await door.result(taskId)).toMatchObject({ status: 'completed', output: 'over' });
    });

    row('a task of nobody is not found', async () => {
      expect(await door.cancel(randomUUID())).toEqual(refusal('task-not-found'));
    });

    row('a deadline ends the task', async () => {
      const prompt = await script([{ ...answer('too late'), hang: true }]);
      const taskId = accepted(await door.submit({ prompt, deadline_ms: 1500 }));
      expect(await door.result(taskId)).toMatchObject({ status: 'failed', error: 'deadline_exceeded' });
    });

    row("another tenant's task does not exist", async () => {
      const held = await holding();
      const taskId = accepted(await door.submit({ prompt: held.prompt }));
      await held.reached();
      for (const asker of [{ tenant: 'other' }, { userId: 'user-eve' }])
        expect(await door.cancel(taskId, asker)).toEqual(refusal('task-not-found'));
      held.release();
      expect(await door.result(taskId)).toMatchObject({ status: 'completed', output: 'let go' });
    });

    row('no token, or a wrong one, opens nothing', async () => {
      const prompt = await script([answer('never')]);
      const claims = {
        sub: 'developer',
        user: 'developer',
        tenant: 'dev',
        aud: 'agent-test',
        scope: 'tasks:read tasks:write',
      };
      const right = name === 'Kafka' || name === 'BullMQ' ? { ...claims, act: { sub: 'tests' } } : claims;
      accepted(
        await door.submit(
          { prompt: await script([answer('with the right one')]) },
          { token: stack.signer.sign(right) },
        ),
      );
      for (const { fault, token } of forgedTokens(stack.signer, right))
        expect({ [fault]: await door.submit({ prompt }, { token }) }).toEqual({
          [fault]: refusal('unauthenticated'),
        });
      expect(await stack.api(doors.get(name)!.site.agent).list({ limit: '100' })).not.toMatchObject({
        body: { tasks: expect.arrayContaining([expect.objectContaining({ output: 'never' })]) as unknown },
      });
    });

    row('who may not, may not', async () => {
      const prompt = await script([answer('never')]);
      expect(await door.submit({ prompt }, { scopes: ['tasks:read'] })).toEqual(refusal('forbidden'));
      const stranger = stack.signer.sign({
        sub: 'developer',
        user: 'developer',
        tenant: 'dev',
        aud: 'agent-test',
        scope: 'tasks:write',
        act: { sub: 'agent-stranger' },
      });
      expect(await door.submit({ prompt }, { token: stranger })).toEqual(refusal('forbidden'));
    });

    row('overload loses nothing and runs nothing too early', async () => {
      const person = { tenant: unique(`crowded-${name.toLowerCase()}`) };
      const held = await holding();
      const session_id = unique('crowd');
      const first = accepted(await door.submit({ prompt: held.prompt, session_id }, person));
      await held.reached();
      const quick = await script([answer('at last')]);
      const waiting: string[] = [];
      // What has begun or ended counts as waiting until the agent counts again.
      const entered = async (request: TaskRequest) => {
        const said = await eventually(
          () => door.submit(request, person),
          (answered) => !isRefusal(answered),
        );
        return accepted(said);
      };
      for (let i = 0; i < MAX_BACKLOG; i += 1) waiting.push(await entered({ prompt: quick, session_id }));
      const extra = { prompt: quick, session_id, key: randomUUID() };
      const admin = doors.get(name)!.site;
      const isThere = async () =>
        (
          await admin.stack
            .api(admin.agent, { ...person, scopes: ['admin', 'tasks:read'] })
            .list({ session_id, limit: '100' })
        ).body.tasks.length;
      if (door.overload === 'refuses')
        expect(await door.submit(extra, person)).toEqual(refusal('backlog-full'));
      const later = door.overload === 'waits' ? door.submit(extra, person) : undefined;
      expect(await isThere()).toBe(1 + MAX_BACKLOG);
      held.release();
      for (const taskId of [first, ...waiting])
        expect(await door.result(taskId, person)).toMatchObject({ status: 'completed' });
      const last = later ? accepted(await later) : await entered(extra);
      expect(await door.result(last, person)).toMatchObject({ status: 'completed', output: 'at last' });
      expect(await isThere()).toBe(2 + MAX_BACKLOG);
    });

    row('tasks of one session run in order', async () => {
      const session_id = unique('order');
      const texts = Array.from({ length: 5 }, (_, i) => `${session_id}-${name}-${i}`);
      for (const text of texts)
        await door.send({
          prompt: await script([callTool('test_record', { text }), answer('noted')]),
          session_id,
          key: randomUUID(),
        });
      const effects = () =>
        stack.tools.effects.map(({ text }) => text).filter((text) => texts.includes(text));
      await eventually(effects, (seen) => seen.length === texts.length);
      expect(effects()).toEqual(texts);
    });
  });
