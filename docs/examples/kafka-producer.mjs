// Hands a task to an agent and waits for its result, with kafkajs and avsc alone: nothing of Baton is imported.
//
//   npm install kafkajs avsc @kafkajs/confluent-schema-registry
//   KAFKA_BROKERS=… SCHEMA_REGISTRY_URL=… IDENTITY_URL=… CLIENT_SECRET=… node kafka-producer.mjs "Who was Ada Lovelace?"
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import avro from 'avsc';
import kafkajs from 'kafkajs';

const { KAFKA_BROKERS, SCHEMA_REGISTRY_URL, IDENTITY_URL, CLIENT_SECRET } = process.env;
// A service that the agent's ALLOWED_CALLERS names, and the client id of its secret.
const caller = process.env.CLIENT_ID ?? 'orchestrator';
const agent = process.env.AGENT ?? 'agent-search';
const prompt = process.argv[2] ?? 'Who was Ada Lovelace?';

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
  deadline: Date.now() + 120_000,
  reply_to: caller,
  stream_steps: false,
  retry_count: 0,
  last_error: null,
};

// Results come to the caller's topic, which the agent makes for its first one.
const admin = kafka.admin();
await admin.connect();
await admin.createTopics({ topics: [{ topic: results, numPartitions: 6 }] });
await admin.disconnect();

const consumer = kafka.consumer({ groupId: `example-${randomUUID()}` });
await consumer.connect();
await consumer.subscribe({ topic: results });
const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
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
await joined;

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
console.log(JSON.stringify(result, null, 2));
await producer.disconnect();
await consumer.disconnect();
