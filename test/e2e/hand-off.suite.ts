import { randomBytes, randomUUID } from 'node:crypto';
import type { AgentStepEvent, AgentTaskEvent, DeadLetterEvent } from '#libs/contracts';
import type { Tokens } from '#libs/auth';
import type { Env } from '#libs/chassis';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, TestCaller, TestStack, type RawSend } from '#libs/testing';

/** Reconnecting to a killed peer, and the consumers' own takeover, in time for a test. */
const AGENT_ENV: Env = { LEASE_MS: '1500', RECONCILE_MS: '200', LOST_AFTER_MS: '1000' };
const MEGABYTE = 1_048_576;

/** The hand-off as its promises say, the same for every transport. @param transport variables of all services */
export function handOffSuite(
  name: string,
  transport: () => Promise<{ env: Env; stop(): Promise<void> }>,
): void {
  describe(`hand-off over ${name}`, () => {
    let given: { env: Env; stop(): Promise<void> };
    let stack: TestStack;
    let agent: SpawnedService;
    let caller: TestCaller;
    let tokens: Tokens;
    let scenarios = 0;

    beforeAll(async () => {
      given = await transport();
      stack = await TestStack.start(given.env);
      tokens = stack.tokens('tests');
      [agent, caller] = await Promise.all([stack.spawnAgent(AGENT_ENV), stack.startCaller()]);
    });
    afterAll(async () => {
      await tokens?.onApplicationShutdown();
      await caller?.stop();
      await stack?.stop();
      await given?.stop();
    });

    const script = async (...steps: Parameters<TestStack['scenario']>[0]['steps']) =>
      `Do it. ${await stack.scenario({ name: `hand-off-${(scenarios += 1)}`, steps })}`;
    const resultOf = (taskId: string) =>
      eventually(
        () => caller.results(taskId),
        (results) => results.length > 0,
        { what: `a result of ${taskId}` },
      );
    /** Waits until a later task of the same session has its result: whatever comes twice would have come by then. */
    const settled = async (sessionId?: string) =>
      resultOf(await caller.handOff({ prompt: await script(answer('later')), sessionId }, stack.subject()));
    const deadLetterOf = async (messageId: string): Promise<DeadLetterEvent> =>
      (
        await eventually(
          () => caller.deadLettersOf(messageId),
          (letters) => letters.length > 0,
          { what: 'a dead letter' },
        )
      )[0]!;
    const right = async (subject = stack.subject()) => ({
      authorization: await tokens.authorization('agent-test', subject),
    });
    /** A token for the agent as nobody would get it. */
    const bearer = (more: object = {}) => {
      const claims = {
        sub: 'developer',
        user: 'developer',
        tenant: 'dev',
        aud: 'agent-test',
        scope: 'tasks:write',
      };
      return `Bearer ${stack.signer.sign({ ...claims, act: { sub: 'tests' }, ...more })}`;
    };
    const api = () => stack.api(agent);

    describe('a task', () => {
      it('is done for its user, and its result comes to the reply address', async () => {
        const prompt = await script(answer('All is well.'));
        const taskId = await caller.handOff({ prompt, context: { a: 'b' } }, stack.subject());
        const [result, ...others] = await resultOf(taskId);
        expect(others).toEqual([]);
        const { body: view } = await api().get(taskId);
        expect(result).toMatchObject({
          task_id: taskId,
          source_agent: 'agent-test',
          session_id: taskId,
          status: 'completed',
          output: 'All is well.',
          error: null,
          error_detail: null,
          steps_used: view.steps_used,
          tokens_used: view.tokens_used,
          duration_ms: view.duration_ms,
        });
        expect((await stack.api(agent, { userId: 'user-eve' }).get(taskId)).status).toBe(404);
        expect((await stack.api(agent, { tenant: 'other' }).get(taskId)).status).toBe(404);
      });

      it('calls its tools on behalf of the user who is named in the token', async () => {
        const text = `effect ${randomUUID()}`;
        const prompt = await script(callTool('test_record', { text }), answer('Recorded.'));
        await resultOf(await caller.handOff({ prompt }, stack.subject({ userId: 'user-ada' })));
        const effects = stack.tools.effects.filter((effect) => effect.text === text);
        expect(effects).toEqual([expect.objectContaining({ userId: 'user-ada', tenant: 'dev' })]);
      });

      it('tells its steps in the order of the journal, each as watchers get it, before the result', async () => {
        const prompt = await script(callTool('test_echo', { text: 'x' }), answer('Said.'));
        const taskId = await caller.handOff({ prompt, reply: 'steps' }, stack.subject());
        await resultOf(taskId);
        const steps: AgentStepEvent[] = await caller.steps(taskId);
        expect(steps.map(({ sequence, type }) => [sequence, type])).toEqual([
          [1, 'llm_call'],
          [2, 'tool_result'],
          [3, 'llm_call'],
          [4, 'finish'],
        ]);
        const journal = await api().journal(taskId);
        expect(steps.map(({ entry_json: json }) => JSON.parse(json) as unknown)).toEqual(journal);
      });

      it('waits for the earlier ones of its session', async () => {
        const sessionId = `session-${randomUUID()}`;
        const prompts = await Promise.all(['one', 'two', 'three'].map((text) => script(answer(text))));
        const ids: string[] = [];
        for (const prompt of prompts) ids.push(await caller.handOff({ prompt, sessionId }, stack.subject()));
        await Promise.all(ids.map(resultOf));
        const inOrder = (await caller.results()).filter(({ session_id: session }) => session === sessionId);
        expect(inOrder.map(({ output }) => output)).toEqual(['one', 'two', 'three']);
      });

      it('is told to the world where Kafka carries events, without its words', async () => {
        const prompt = await script(answer('A secret answer.'));
        const taskId = await caller.handOff({ prompt }, stack.subject());
        await resultOf(taskId);
        await settled();
        const wanted = given.env['KAFKA_BROKERS'] ? ['task.accepted', 'task.completed'] : [];
        const events = await eventually(
          () => caller.events(taskId),
          ({ length }) => length >= wanted.length,
        );
        expect(events.map(({ type }) => type)).toEqual(wanted);
        expect(JSON.stringify(events)).not.toMatch(/secret|Do it/);
      });

      it('that is too late fails, with result and dead letter', async () => {
        const prompt = await script(answer('never'));
        const taskId = await caller.handOff({ prompt, deadline: Date.now() - 1000 }, stack.subject());
        expect(await resultOf(taskId)).toMatchObject([{ status: 'failed', error: 'deadline_exceeded' }]);
        const [letter] = await eventually(
          () => caller.deadLetters(taskId),
          (letters) => letters.length > 0,
        );
        expect(letter).toMatchObject({ reason: 'task-failed', auto_retry_eligible: false });
      });

      it('that fails leaves a dead letter with its cause and the request', async () => {
        const prompt = await script(callTool('test_echo', '{'), callTool('test_echo', '{'));
        const taskId = await caller.handOff(
          { prompt, context: { keep: 'me' }, maxSteps: 5 },
          stack.subject(),
        );
        expect(await resultOf(taskId)).toMatchObject([
          { status: 'failed', error: 'tool_arguments_malformed', error_detail: expect.any(String) },
        ]);
        const [letter] = await eventually(
          () => caller.deadLetters(taskId),
          (letters) => letters.length > 0,
        );
        expect(letter).toMatchObject({
          reason: 'task-failed',
          last_error: expect.stringMatching(/^tool_arguments_malformed: /),
          retry_count: 0,
          auto_retry_eligible: false,
          reported_by: 'agent-test',
          session_id: taskId,
        });
        expect(JSON.parse(letter!.task_json!)).toMatchObject({
          task_id: taskId,
          target_agent: 'agent-test',
          prompt,
          context: { keep: 'me' },
          max_steps: 5,
          reply_to: 'tests',
        });
        expect(agent.output()).not.toContain(prompt);
      });

      it('can be cancelled while it runs', async () => {
        const text = `hold ${randomUUID()}`;
        const prompt = await script(callTool('test_hold', { text }), answer('never'));
        const taskId = await caller.handOff({ prompt }, stack.subject());
        await eventually(() => stack.tools.calls['test_hold']!.includes(text));
        await caller.cancel(taskId, stack.subject());
        expect(await resultOf(taskId)).toMatchObject([{ status: 'cancelled', error: 'cancelled' }]);
        await eventually(() => stack.tools.aborted.includes(text));
      });

      it('of somebody else cannot be cancelled', async () => {
        const text = `hold ${randomUUID()}`;
        const prompt = await script(callTool('test_hold', { text }), answer('Held.'));
        const taskId = await caller.handOff({ prompt }, stack.subject());
        await eventually(() => stack.tools.calls['test_hold']!.includes(text));
        await caller.cancel(taskId, stack.subject({ tenant: 'other' }));
        await eventually(async () => (await caller.deadLetters(taskId)).length > 0);
        expect(await caller.deadLetters(taskId)).toMatchObject([{ reason: 'task-not-found' }]);
        stack.tools.release(text);
        expect(await resultOf(taskId)).toMatchObject([{ status: 'completed' }]);
      });
    });

    describe('P8: one message', () => {
      it('that comes again and again is one task and one result', async () => {
        const id = randomUUID();
        const body = {
          task_id: randomUUID(),
          session_id: `twice-${id}`,
          prompt: await script(answer('Once.')),
        };
        const headers = await right();
        for (let i = 0; i < 4; i += 1) await caller.sendRaw({ id, body, headers });
        await resultOf(body.task_id);
        await caller.sendRaw({ id, body, headers });
        await settled(body.session_id);
        expect(await caller.results(body.task_id)).toHaveLength(1);
      });

      it('and others with its task id and the same request are one task', async () => {
        const body = {
          task_id: randomUUID(),
          session_id: `same-${randomUUID()}`,
          prompt: await script(answer('Once.')),
        };
        const headers = await right();
        for (let i = 0; i < 3; i += 1) await caller.sendRaw({ body, headers });
        await resultOf(body.task_id);
        await settled(body.session_id);
        expect(await caller.results(body.task_id)).toHaveLength(1);
        expect(await caller.deadLetters(body.task_id)).toEqual([]);
      });

      it('that comes anew after its task has ended is answered again, for a caller who lost the result', async () => {
        const body = {
          task_id: randomUUID(),
          session_id: `again-${randomUUID()}`,
          prompt: await script(answer('Once.')),
        };
        const headers = await right();
        await caller.sendRaw({ body, headers });
        const [result] = await resultOf(body.task_id);
        await caller.sendRaw({ body, headers });
        await settled(body.session_id);
        // It is the same message, and its caller knows it.
        expect(await caller.results(body.task_id)).toEqual([result]);
        await caller.forget();
        await caller.sendRaw({ body, headers });
        const results = await eventually(
          () => caller.results(body.task_id),
          ({ length }) => length === 2,
        );
        expect(results[1]).toEqual({ ...result, created_at: expect.any(Number) });
      });

      it('cannot be swallowed by forged ones that claim its id', async () => {
        const id = randomUUID();
        const forged = [
          { headers: { authorization: undefined } },
          { headers: { authorization: bearer({ aud: 'gateway' }) } },
          { headers: { authorization: bearer({ act: { sub: 'orchestrator' } }) }, body: { prompt: ' ' } },
          { headers: { authorization: bearer({ tenant: 'other' }) }, body: { prompt: ' ' } },
        ];
        // Over BullMQ a job's id is a claim, too, but only of somebody who could as well delete the job.
        for (const one of forged) await caller.sendRaw({ ...one, headers: { ...one.headers, ce_id: id } });
        await eventually(async () => (await caller.deadLettersOf(id)).length === forged.length);
        const body = { task_id: randomUUID(), prompt: await script(answer('Mine.')) };
        for (let i = 0; i < 2; i += 1)
          await caller.sendRaw({ body, headers: { ...(await right()), ce_id: id } });
        expect(await resultOf(body.task_id)).toMatchObject([{ status: 'completed', output: 'Mine.' }]);
        await settled();
        expect(await caller.results(body.task_id)).toHaveLength(1);
        expect(await caller.deadLettersOf(id)).toHaveLength(forged.length);
      });

      it('control: with another request, or from another tenant, it is refused', async () => {
        const body = {
          task_id: randomUUID(),
          session_id: `other-${randomUUID()}`,
          prompt: await script(answer('Mine.')),
        };
        await caller.sendRaw({ body, headers: await right() });
        await resultOf(body.task_id);
        const refusals: Array<[string, Partial<AgentTaskEvent>]> = [
          ['idempotency-key-reused', { prompt: 'Something else' }],
          ['validation', { max_steps: 26 }],
          ['wrong-target', { target_agent: 'agent-search' }],
          ['validation', { task_id: body.task_id.toUpperCase(), prompt: ' ' }],
        ];
        for (const [reason, changes] of refusals) {
          const changed = await caller.sendRaw({ body: { ...body, ...changes }, headers: await right() });
          expect(await deadLetterOf(changed.id)).toMatchObject({ reason });
        }
        await settled(body.session_id);
        // Its caller has one result of it, and not the news that it failed.
        const told = (await caller.results()).filter(({ task_id: id }) => id.toLowerCase() === body.task_id);
        expect(told).toMatchObject([{ status: 'completed' }]);
        const stolen = await caller.sendRaw({
          body,
          headers: await right(stack.subject({ tenant: 'other' })),
        });
        expect(await deadLetterOf(stolen.id)).toMatchObject({ reason: 'task-id-taken' });
        const others = await eventually(
          () => caller.results(body.task_id),
          ({ length }) => length === 2,
        );
        expect(others[1]).toMatchObject({ status: 'failed', error: 'task-id-taken' });
        const { body: view } = await api().get(body.task_id);
        expect(view).toMatchObject({ status: 'completed', output: 'Mine.' });
      });
    });

    describe('a message that cannot become a task', () => {
      const ago = (seconds: number) => Math.floor(Date.now() / 1000) - seconds;

      /** `replied`: the caller, who waits, is told as well. */
      const kinds: Array<[string, string, boolean, () => Promise<RawSend> | RawSend]> = [
        ['not Avro at all', 'avro-invalid', false, () => ({ value: Buffer.from('{"prompt":"x"}') })],
        ['empty', 'avro-invalid', false, () => ({ value: Buffer.alloc(0) })],
        [
          'of an unknown schema id',
          'unknown-schema',
          false,
          () => ({ value: Buffer.from([0, 0, 0, 255, 255, 1]) }),
        ],
        ['cut off in a field', 'avro-invalid', false, () => ({ value: Buffer.from([0, 0, 0, 0, 0, 200]) })],
        ['for another agent', 'wrong-target', true, () => ({ body: { target_agent: 'agent-search' } })],
        [
          'with a NUL in its key and target',
          'wrong-target',
          true,
          () => ({ body: { target_agent: 'agent-\0', session_id: 'a\0b' } }),
        ],
        ['with a blank prompt', 'validation', true, () => ({ body: { prompt: '  ' } })],
        ['with too many steps', 'validation', true, () => ({ body: { max_steps: 26 } })],
        ['with a small budget', 'validation', true, () => ({ body: { token_budget: 511 } })],
        [
          'with a session id of another alphabet',
          'validation',
          true,
          () => ({ body: { session_id: 'a:b' } }),
        ],
        [
          'with an endless session id',
          'validation',
          true,
          () => ({ body: { session_id: randomBytes(5000).toString('hex') } }),
        ],
        [
          'as large as may be',
          'validation',
          true,
          () => ({
            body: { prompt: 'x'.repeat(MEGABYTE - 4096) },
            headers: Object.fromEntries(Array.from({ length: 14 }, (_, i) => [`x-${i}`, 'y'.repeat(4000)])),
          }),
        ],
        ['with a task id that is no UUID', 'validation', true, () => ({ body: { task_id: 'mine' } })],
        ['with NUL in its prompt', 'malformed-request', true, () => ({ body: { prompt: 'a\0b' } })],
        [
          'with results for somebody else',
          'forbidden',
          false,
          // Sent by another: the caller who looks for a result is the one who must not get it.
          () => ({
            headers: { authorization: bearer({ act: { sub: 'orchestrator' } }) },
            body: { reply_to: 'tests' },
          }),
        ],
        ['without a token', 'unauthenticated', false, () => ({ headers: { authorization: undefined } })],
        [
          'with a token that had expired when it was sent',
          'unauthenticated',
          false,
          () => ({ headers: { authorization: bearer({ iat: ago(600), nbf: ago(600), exp: ago(300) }) } }),
        ],
        [
          'with a token for another service',
          'unauthenticated',
          false,
          () => ({ headers: { authorization: bearer({ aud: 'gateway' }) } }),
        ],
        [
          "with a person's own token",
          'forbidden',
          false,
          () => ({ headers: { authorization: bearer({ act: undefined }) } }),
        ],
        [
          'of a service that may not call',
          'forbidden',
          false,
          () => ({ headers: { authorization: bearer({ act: { sub: 'supervisor' } }) } }),
        ],
        [
          'without the scope',
          'forbidden',
          true,
          () => ({ headers: { authorization: bearer({ scope: 'tasks:read' }) } }),
        ],
      ];

      it.each(kinds)('%s becomes a dead letter: %s', async (title, reason, replied, make) => {
        const made = await make();
        const { id, taskId } = await caller.sendRaw({
          ...made,
          headers: { ...(await right()), ...made.headers },
        });
        const letter = await deadLetterOf(id);
        expect(letter).toMatchObject({
          reason,
          last_error: expect.stringMatching(/\S/),
          reported_by: 'agent-test',
          topic: 'agent.tasks.test',
          message_id: id,
        });
        expect(JSON.stringify(letter.headers)).not.toMatch(/bearer/i);
        if (reason === 'validation') expect(letter.errors).toHaveLength(1);
        if (replied) {
          const [result] = await resultOf(taskId);
          expect(result).toMatchObject({ status: 'failed', error: reason });
          if (reason === 'wrong-target')
            expect(result!.error_detail).toBe(
              'The task is for another agent: target_agent must be agent-test in this topic',
            );
        }
        await caller.sendRaw({ id, ...made, headers: { ...(await right()), ...made.headers } });
        await settled();
        // Without a sender the place alone tells messages apart; a queue has a job only once.
        const sentByNobody = reason === 'unauthenticated' || title.startsWith("with a person's own");
        const letters = sentByNobody && given.env['KAFKA_BROKERS'] ? 2 : 1;
        await eventually(async () => (await caller.deadLettersOf(id)).length >= letters);
        expect(await caller.deadLettersOf(id)).toHaveLength(letters);
        expect(await caller.results(taskId)).toHaveLength(replied ? 1 : 0);
      });

      it('too large becomes a dead letter as well', async () => {
        const { id } = await caller.sendRaw({ value: Buffer.alloc(MEGABYTE + 100), headers: await right() });
        expect(await deadLetterOf(id)).toMatchObject({
          reason: 'message-too-large',
          payload_bytes: MEGABYTE + 100,
        });
      });

      it('holds nothing up: what came after it in its session is done', async () => {
        const session_id = `poisoned-${randomUUID()}`;
        const bad = await caller.sendRaw({ body: { session_id, max_steps: 99 }, headers: await right() });
        const good = await caller.sendRaw({
          body: { session_id, prompt: await script(answer('Next.')) },
          headers: await right(),
        });
        expect(await resultOf(good.taskId)).toMatchObject([{ status: 'completed', output: 'Next.' }]);
        expect(await deadLetterOf(bad.id)).toMatchObject({ reason: 'validation', task_id: bad.taskId });
      });
    });
  });
}
