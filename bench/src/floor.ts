import { Queue, QueueEvents, Worker, type Job } from 'bullmq';
import pg from 'pg';
import { HttpClient } from '#libs/chassis';
import { OpenAiLlm, type ChatMessage } from '#libs/llm';
import { ANSWER, type Contestant } from './contestant.js';
import type { BenchStack } from './stack.js';

const TOOL_SPEC = {
  name: 'lookup',
  description: 'Looks up a word',
  parameters: {
    type: 'object',
    properties: { query: { type: 'string', maxLength: 500 } },
    required: ['query'],
  },
};

/**
 * What anybody would write in an afternoon: a BullMQ worker that asks the same model with the same client, calls the same tool
 * directly, and inserts one row per entry. No door, no lease, no replay, no registry, no events.
 */
export async function startFloor(stack: BenchStack): Promise<Contestant> {
  const { infrastructure, agentEnv, tool } = stack;
  const connection = { url: infrastructure.redisUrl, maxRetriesPerRequest: null };
  const pool = new pg.Pool({ connectionString: infrastructure.databaseUrl, max: 8 });
  await pool.query(
    'create table if not exists floor_entries (task_id text, seq int, body json, primary key (task_id, seq))',
  );
  const llm = new OpenAiLlm({ apiKey: 'bench', baseUrl: agentEnv['OPENAI_BASE_URL']!, model: 'scripted' });
  const http = new HttpClient();
  const tokens = stack.tokens('tool-registry');

  const runJob = async (job: Job<{ prompt: string }>): Promise<string | null> => {
    const messages: ChatMessage[] = [
      { role: 'system', content: 'You answer with what the tool says.' },
      { role: 'user', content: job.data.prompt },
    ];
    const { signal } = new AbortController();
    let seq = 0;
    const insert = (body: unknown) =>
      pool.query({
        name: 'floor-insert',
        text: 'insert into floor_entries values ($1, $2, $3)',
        values: [job.id, (seq += 1), JSON.stringify(body)],
      });
    for (;;) {
      const reply = await llm.complete({
        messages,
        tools: [TOOL_SPEC],
        maxTokens: 1000,
        signal,
        timeoutMs: 60_000,
      });
      await insert(reply);
      if (reply.toolCalls.length === 0) return reply.content;
      messages.push({ role: 'assistant', content: reply.content, tool_calls: reply.toolCalls });
      const outcomes = await Promise.all(
        reply.toolCalls.map(async (call) => {
          const { body } = await http.json(`${tool.url}/tools/${call.name}/invoke`, {
            method: 'POST',
            headers: {
              authorization: await tokens.authorization('tools-bench'),
              'x-agent-id': 'agent-bench',
              'x-request-id': `${job.id}-${seq}`,
            },
            body: { tool: call.name, version: '1.0.0', params: JSON.parse(call.arguments) as unknown },
          });
          messages.push({ role: 'tool', tool_call_id: call.id, content: JSON.stringify(body) });
          return body;
        }),
      );
      await insert(outcomes);
    }
  };

  const queue = new Queue('floor', { connection });
  const events = new QueueEvents('floor', { connection });
  // Every waiting task listens.
  for (const emitter of [queue, events]) emitter.setMaxListeners(0);
  const worker = new Worker('floor', runJob, { connection, concurrency: 2000 });
  await Promise.all([worker.waitUntilReady(), events.waitUntilReady()]);
  return {
    name: 'floor',
    runTask: async (prompt) => {
      const job = await queue.add('run', { prompt }, { removeOnComplete: 10_000 });
      const answer: unknown = await job.waitUntilFinished(events, 120_000);
      if (answer !== ANSWER) throw new Error(`floor: unexpected answer ${JSON.stringify(answer)}`);
    },
    stop: async () => {
      await worker.close();
      await Promise.all([events.close(), queue.close(), http.close(), llm.onApplicationShutdown()]);
      await pool.end();
    },
  };
}
