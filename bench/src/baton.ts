import { Intake, TaskFeed, agentService } from '#libs/agent';
import type { Subject } from '#libs/auth';
import { startService } from '#libs/chassis';
import type { AgentTask } from '#libs/contracts';
import { Database } from '#libs/database';
import { benchAgent } from './bench.agent.js';
import { ANSWER, type Contestant } from './contestant.js';
import type { BenchStack } from './stack.js';

const TIMEOUT_MS = 120_000;

export interface Baton extends Contestant {
  name: 'baton';
  submit(prompt: string): Promise<string>;
  waitForEnd(taskId: string): Promise<void>;
  database: Database;
}

/** Baton as it is: door, journal, lease, queue and registry hop. Tasks go in at the point where every door's requests meet. */
export async function startBaton(stack: BenchStack): Promise<Baton> {
  const service = await startService(agentService(benchAgent('agent-bench')), {
    ...stack.agentEnv,
    PORT: '0',
    GRPC_PORT: '0',
  });
  const { app } = service;
  const [intake, feed, database] = [app.get(Intake), app.get(TaskFeed), app.get(Database)];
  await database.whenReady;
  const subject = await stack.subject();
  const submit = async (prompt: string) => (await intake.accept(taskOf(prompt, subject))).taskId;
  const waitForEnd = async (taskId: string) => {
    if (!(await feed.waitForEnd(taskId, TIMEOUT_MS, undefined, true)))
      throw new Error(`task ${taskId} did not end`);
  };
  return {
    name: 'baton',
    database,
    submit,
    waitForEnd,
    runTask: async (prompt) => {
      const taskId = await submit(prompt);
      await waitForEnd(taskId);
    },
    stop: () => service.stop(),
  };
}

/** @throws unless all tasks whose prompt begins with `prefix` completed with the scripted answer, and all their tool calls succeeded */
export async function checkAnswers(database: Database, prefix: string, expected: number): Promise<void> {
  const [row] = await database.query<{ good: number }>(
    `select count(*)::int as good from agents.tasks where prompt like $1 || '%' and status = 'completed' and output = $2 and error is null`,
    [prefix, ANSWER],
  );
  if (row!.good !== expected)
    throw new Error(`${prefix}: ${row!.good} of ${expected} tasks ended with the answer`);
  const [bad] = await database.query<{ calls: number; code: string | null }>(
    `select count(*)::int as calls, min(result #>> '{outcome,code}') as code
     from agents.tasks t join agents.journal j on j.task_id = t.id and j.body ->> 'kind' = 'tools',
       lateral json_array_elements(j.body -> 'results') as result
     where t.prompt like $1 || '%' and result #>> '{outcome,ok}' <> 'true'`,
    [prefix],
  );
  if (bad!.calls > 0) throw new Error(`${prefix}: ${bad!.calls} tool calls failed, e.g. ${bad!.code}`);
}

function taskOf(prompt: string, { tenant, userId, scopes, token }: Subject): AgentTask {
  return {
    tenant,
    userId,
    scopes,
    subjectToken: token,
    sessionId: null,
    prompt,
    metadata: {},
    // Beyond what a door lets in: the longest measured task has 33 model calls.
    maxSteps: 40,
    tokenBudget: 10_000_000,
    id: null,
    idempotencyKey: null,
    timeoutMs: null,
    replyTo: null,
    streamSteps: false,
    retryCount: 0,
    traceparent: null,
  };
}
