// Hands a task to an agent and waits for its result, with kafkajs and avsc alone: nothing of Baton is imported.
//
//   npm install kafkajs avsc @kafkajs/confluent-schema-registry
//   CLIENT_SECRET=… node docs/examples/kafka-producer.mjs "Who was Ada Lovelace?"
//
// KAFKA_BROKERS, SCHEMA_REGISTRY_URL (empty: none), IDENTITY_URL: default those of `./baton up --kafka`, plus BATON_PORT_OFFSET.
// WAIT_MS: how long to wait for the result, and the task's deadline; default two minutes.
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import avro from 'avsc';
import kafkajs from 'kafkajs';

const at = (port) => `127.0.0.1:${port + Number(process.env.BATON_PORT_OFFSET || 0)}`;
const {
  KAFKA_BROKERS = at(8192),
  SCHEMA_REGISTRY_URL = `http://${at(8181)}/apis/ccompat/v7`,
  IDENTITY_URL = `http://${at(8081)}`,
  CLIENT_SECRET,
} = process.env;
const waitMs = Number(process.env.WAIT_MS ?? 120_000);
// A service that the agent's ALLOWED_CALLERS names, and the client id of its secret.
const caller = process.env.CLIENT_ID ?? 'orchestrator';
const agent = process.env.AGENT ?? 'agent-search';
const prompt = process.argv[2] ?? 'Who was Ada Lovelace?';

if (!CLIENT_SECRET) {
  console.error(
    `CLIENT_SECRET is not set: the secret of ${caller} at identity; docs/kafka.md says how to get it`,
  );
  process.exit(1);
}

if (!KAFKA_BROKERS.split(',').every((broker) => /^[^:]+:\d+$/.test(broker.trim()))) {
  console.error(`KAFKA_BROKERS=${KAFKA_BROKERS}: host:port of brokers, separated by commas, is wanted`);
  process.exit(1);
}

const NAMESPACE = 'com.baton.agents.v1';
const schema = (kind) =>
  JSON.parse(readFileSync(new URL(`../../libs/contracts/src/avro/${kind}.avsc`, import.meta.url), 'utf8'));
const registry = SCHEMA_REGISTRY_URL ? new SchemaRegistry({ host: SCHEMA_REGISTRY_URL }) : null;

/** Confluent's wire format; without a registry the schema's id is 0, and the header ce_type names the schema. */
async function encode(kind, record) {
  if (registry) {
    const id = await registry.getLatestSchemaId(`${NAMESPACE}.${kind}`);
    return registry.encode(id, record);
  }
  return Buffer.concat([Buffer.alloc(5), avro.Type.forSchema(schema(kind)).toBuffer(record)]);
}

async function decode(value, kind) {
  return registry ? registry.decode(value) : avro.Type.forSchema(schema(kind)).fromBuffer(value.subarray(5));
}

/** A token of the calling service for the agent: five minutes, valid for the message from the moment when the broker took it. */
async function authorization() {
  const response = await fetch(`${IDENTITY_URL}/oauth/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${caller}:${CLIENT_SECRET}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', audience: agent }),
  });
  if (!response.ok) throw new Error(`identity: ${response.status} ${await response.text()}`);
  return `Bearer ${(await response.json()).access_token}`;
}

const kafka = new kafkajs.Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: kafkajs.logLevel.NOTHING });
const tasks = `agent.tasks.${agent.replace(/^agent-/, '')}`;
const results = `agent.results.${caller}`;
const traceId = randomBytes(16).toString('hex');

const task = {
  task_id: randomUUID(),
  source_agent: caller,
  target_agent: agent,
  session_id: `example-${randomUUID()}`,
  prompt,
  context: { origin: 'kafka-producer.mjs' },
  created_at: Date.now(),
  max_steps: 5,
  token_budget: 4096,
  deadline: Date.now() + waitMs,
  reply_to: caller,
  stream_steps: false,
  retry_count: 0,
  last_error: null,
};

function fail(message) {
  console.error(message);
  process.exit(1);
}
const late = () =>
  fail(
    `No result within ${waitMs / 1000} s. Is Kafka up, and ${agent} (./baton status)? A task that was refused is in agent.dead-letters.`,
  );
const timer = setTimeout(late, waitMs);

try {
  // Results come to the caller's topic, which the agent makes for its first one.
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: results, numPartitions: 6 }] });
  await admin.disconnect();

  const consumer = kafka.consumer({ groupId: `example-${randomUUID()}` });
  await consumer.connect();
  // This group is new: from the end on, it could begin behind the result.
  await consumer.subscribe({ topic: results, fromBeginning: true });
  const answered = new Promise((resolve, reject) => {
    consumer
      .run({
        eachMessage: async ({ message }) => {
          if (message.key?.toString() !== task.session_id) return;
          resolve(await decode(message.value, 'AgentResultEvent'));
        },
      })
      .catch(reject);
  });

  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  await producer.send({
    topic: tasks,
    acks: -1,
    messages: [
      {
        // Tasks of one session run in the order of their messages.
        key: task.session_id,
        value: await encode('AgentTaskEvent', task),
        headers: {
          authorization: await authorization(),
          traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01`,
          'content-type': 'application/avro',
          // The same id again is the same message, however often it is sent.
          ce_id: randomUUID(),
          ce_source: `/services/${caller}`,
          ce_type: `${NAMESPACE}.AgentTaskEvent`,
          ce_specversion: '1.0',
          ce_time: new Date().toISOString(),
          ce_subject: task.task_id,
        },
      },
    ],
  });
  console.error(`handed off ${task.task_id} to ${tasks}`);

  const result = await answered;
  clearTimeout(timer);
  console.log(JSON.stringify(result, null, 2));
  await producer.disconnect();
  await consumer.disconnect();
} catch (error) {
  fail(`Not done: ${error.message}`);
}
