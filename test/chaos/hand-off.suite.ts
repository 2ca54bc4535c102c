import { randomUUID } from 'node:crypto';
import type { Tokens } from '#libs/auth';
import type { Env } from '#libs/chassis';
import { inboxId } from '#libs/messaging';
import { answer, callTool, eventually, type TestCaller } from '#libs/testing';
import { ChaosStack, diedOf } from './chaos-stack.js';

/** A dead consumer's messages are given to the next one after this time: Kafka's session timeout, BullMQ's lock. */
const TAKEOVER_MS = 90_000;
/** What was refused for want of room is offered again with growing pauses. */
const ALL_MS = 150_000;

/** Where an agent may die on the way of a handed-off task, from its message to its result. */
const PLACES = [
  ['before it is handled', 'handoff.before-handle=kill@1'],
  ['before the commit of its acceptance', 'intake.before-commit=kill@1'],
  ['after that commit, before its message is done', 'intake.after-commit=kill@1'],
  ['when it was handled, before the transport knows', 'handoff.after-handle=kill@1'],
  ['before its result is written', 'run.before-finish=kill@1'],
  ['when its result is in the outbox', 'run.after-finish=kill@1'],
  ['when the relay has taken its result', 'outbox.after-take=kill@1'],
  ['when its result is published, before the outbox forgets it', 'outbox.after-publish=kill@1'],
] as const;

/** Agents that die anywhere between a message and its result, the same for every transport. @param transport variables of all services */
export function killedAnywhere(
  name: string,
  transport: () => Promise<{ env: Env; stop(): Promise<void> }>,
): void {
  describe(`P1, P8: handed off over ${name}, killed`, () => {
    let given: { env: Env; stop(): Promise<void> };
    let chaos: ChaosStack;
    let caller: TestCaller;
    let tokens: Tokens;
    beforeAll(async () => {
      given = await transport();
      chaos = await ChaosStack.start(given.env);
      tokens = chaos.stack.tokens('tests');
      caller = await chaos.stack.startCaller();
    });
    afterEach(() => chaos?.killVictims());
    afterAll(async () => {
      await tokens?.onApplicationShutdown();
      await caller?.stop();
      await chaos?.stop();
      await given?.stop();
    });

    it.each(PLACES)('%s: one task, one effect, one result', async (_, failpoint) => {
      const text = `hand-off-${randomUUID()}`;
      const prompt = await chaos.script(text, [callTool('test_record', { text }), answer('Recorded.')]);
      const victim = await chaos.victim(failpoint);
      const taskId = await caller.handOff({ prompt }, chaos.stack.subject());
      await diedOf(victim);
      const next = await chaos.victim('');
      const [result] = await eventually(
        () => caller.results(taskId),
        (results) => results.length > 0,
        { timeoutMs: TAKEOVER_MS, what: 'the result' },
      );
      expect(result).toMatchObject({ status: 'completed', output: 'Recorded.' });
      // What could come twice would have come before the result of a later task of the same session.
      const later = await chaos.script(`later-${text}`, [answer('later')]);
      const laterId = await caller.handOff({ prompt: later, sessionId: taskId }, chaos.stack.subject());
      await eventually(async () => (await caller.results(laterId)).length > 0, Boolean, {
        timeoutMs: TAKEOVER_MS,
      });
      expect(await caller.results(taskId)).toHaveLength(1);
      expect(chaos.stack.tools.effects.filter((effect) => effect.text === text)).toHaveLength(1);
      const { rows } = await chaos.sql('select count(*)::int as n from agents.tasks where prompt = $1', [
        prompt,
      ]);
      expect(rows).toEqual([{ n: 1 }]);
      expect((await chaos.api(next).get(taskId)).body.status).toBe('completed');
    });

    it('control: without the inbox row and the task, the same message is a second task', async () => {
      const agent = await chaos.victim('');
      const prompt = await chaos.script(`control-${name}`, [answer('Done.')]);
      const id = randomUUID();
      const body = { task_id: randomUUID(), session_id: `control-${id}`, prompt };
      const headers = { authorization: await tokens.authorization('agent-test', chaos.stack.subject()) };
      await caller.sendRaw({ id, body, headers });
      await eventually(async () => (await caller.results(body.task_id)).length === 1, Boolean, {
        timeoutMs: TAKEOVER_MS,
      });
      const received = inboxId({ id, place: '' }, { caller: 'tests', tenant: 'dev' });
      const { rowCount } = await chaos.sql('delete from agents.inbox where message_id = $1', [received]);
      expect(rowCount).toBe(1);
      await chaos.sql('delete from agents.journal where task_id = $1', [body.task_id]);
      await chaos.sql('delete from agents.tasks where id = $1', [body.task_id]);
      // BullMQ knows an ended job by its id for a while; a sender that gives another form of it is the same message.
      if (name === 'BullMQ') await chaos.redis.flushall();
      await caller.forget();
      await caller.sendRaw({ id, body, headers });
      await eventually(async () => (await caller.results(body.task_id)).length === 2, Boolean, {
        timeoutMs: TAKEOVER_MS,
      });
      expect(agent.output()).not.toContain(prompt);
    });

    it('P12: while the backlog is full its messages wait, and nothing is lost', async () => {
      const text = `hold-${randomUUID()}`;
      const hold = await chaos.script(text, [callTool('test_hold', { text }), answer('Held.')]);
      const quick = await chaos.script(`quick-${text}`, [answer('Quick.')]);
      await chaos.victim('', { MAX_BACKLOG: '5', WORKER_CONCURRENCY: '1', LOCAL_RUNS: '0' });
      const first = await caller.handOff({ prompt: hold }, chaos.stack.subject());
      await eventually(() => chaos.stack.tools.calls['test_hold']!.includes(text), Boolean, {
        timeoutMs: TAKEOVER_MS,
      });
      const others = await Promise.all(
        Array.from({ length: 20 }, () => caller.handOff({ prompt: quick }, chaos.stack.subject())),
      );
      const waiting = async () =>
        (await chaos.sql(`select count(*)::int as n from agents.tasks where prompt = $1`, [quick])).rows[0]
          .n as number;
      await eventually(async () => (await waiting()) > 0);
      expect(await waiting()).toBeLessThan(20);
      chaos.stack.tools.release(text);
      await eventually(
        () => Promise.all([first, ...others].map((taskId) => caller.results(taskId))),
        (results) => results.every(({ length }) => length === 1),
        { timeoutMs: ALL_MS, what: 'all results' },
      );
      expect(await caller.deadLetters(first)).toEqual([]);
    });
  });
}
