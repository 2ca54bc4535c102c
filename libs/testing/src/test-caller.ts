import { randomUUID } from 'node:crypto';
import { Controller, Injectable, Inject, type Type } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { AuthModule, type AuthConfig, type Subject } from '#libs/auth';
import { createResultsDoor, HandOffs, handOffsOf, type HandOff, type ResultHandler } from '#libs/agent';
import { loadConfig, startService, type Env, type RunningService } from '#libs/chassis';
import {
  DEAD_LETTERS_TOPIC,
  EVENTS_TOPIC,
  tasksTopic,
  type AgentEvent,
  type AgentResultEvent,
  type AgentStepEvent,
  type AgentTaskEvent,
  type DeadLetterEvent,
} from '#libs/contracts';
import { Database, DatabaseModule, type Query } from '#libs/database';
import {
  connectHandoff,
  HANDOFF,
  HANDOFF_CONFIG,
  HandoffModule,
  handoffTables,
  relayTable,
  InboxRepository,
  MessageCodec,
  MessagingModule,
  type Handoff,
  type IncomingMessage,
} from '#libs/messaging';

/** The client of the identity service that a test is. */
export const TEST_CALLER = 'tests';

class Tables1764000000000 implements MigrationInterface {
  name = 'Tables1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `${handoffTables('tests')} ${relayTable('tests')} create table tests.received (no bigint generated always as identity, kind text not null,
       tenant text, body json not null)`,
    );
  }

  async down(): Promise<void> {}
}

/** Keeps what comes, in the transaction of the message. */
@Injectable()
class Received implements ResultHandler {
  onResult = (result: AgentResultEvent, tenant: string, query: Query) =>
    this.keep('AgentResultEvent', result, query, tenant);
  onStep = (step: AgentStepEvent, tenant: string, query: Query) =>
    this.keep('AgentStepEvent', step, query, tenant);

  async keep(kind: string, body: object, query: Query, tenant: string | null = null): Promise<void> {
    await query('insert into tests.received (kind, tenant, body) values ($1, $2, $3)', [
      kind,
      tenant,
      JSON.stringify(body),
    ]);
  }
}

@Controller()
class WorldDoor {
  constructor(
    @Inject(Database) private readonly database: Database,
    @Inject(InboxRepository) private readonly inbox: InboxRepository,
    @Inject(Received) private readonly received: Received,
  ) {}

  @EventPattern<string>(DEAD_LETTERS_TOPIC)
  deadLetter(@Payload() message: IncomingMessage): Promise<void> {
    return this.keep(message);
  }

  @EventPattern<string>(EVENTS_TOPIC)
  event(@Payload() message: IncomingMessage): Promise<void> {
    return this.keep(message);
  }

  private async keep({ id, kind, body }: IncomingMessage): Promise<void> {
    await this.database.transaction(async (query) => {
      if (await this.inbox.record(query, id)) await this.received.keep(kind, body, query);
    });
  }
}

/** A message as a test puts it on the wire by itself, past outbox and token client; what is left out is right. */
export interface RawSend {
  id?: string;
  /** Default `agent-test`; decides about the topic. */
  agent?: string;
  body?: Partial<AgentTaskEvent>;
  /** Instead of the body in Avro. */
  value?: Buffer;
  /** On top of the right ones; undefined leaves one out. */
  headers?: Record<string, string | undefined>;
}

/**
 * A service that hands off tasks and gets their results, in the test's own process: it also reads dead letters and events. Over Kafka if the
 * stack has brokers, else over BullMQ.
 */
export class TestCaller {
  private constructor(
    private readonly service: RunningService,
    readonly database: Database,
  ) {}

  /**
   * @param env variables of the client `tests` with DATABASE_URL, REDIS_URL, and KAFKA_BROKERS where Kafka is meant
   * @param reads false: it only sends. What it reads costs the connections and the time of this process.
   */
  static async start(env: Env, { reads = true } = {}): Promise<TestCaller> {
    const config = loadConfig(env, HANDOFF_CONFIG);
    const service = await startService(
      () => ({
        name: TEST_CALLER,
        description: 'Hands off what the tests say',
        imports: [
          AuthModule.forRoot({
            service: TEST_CALLER,
            config: env as unknown as AuthConfig,
            allowedCallers: [],
          }),
          DatabaseModule.forRoot({
            url: env['DATABASE_URL']!,
            schema: 'tests',
            migrations: [Tables1764000000000],
            poolMax: 4,
          }),
          MessagingModule.forRoot(env['REDIS_URL']!),
          HandoffModule.forRoot({ service: TEST_CALLER, schema: 'tests', config }),
        ],
        providers: [Received, handOffsOf(TEST_CALLER)],
        controllers: reads ? [createResultsDoor(TEST_CALLER, Received), WorldDoor as Type] : [],
        openDoors: async (app) => {
          await app.get(Database).whenReady;
          if (!reads) return;
          await connectHandoff(app, async ({ code, cause }) => {
            throw new Error(`the test got a message that it cannot read: ${code}`, { cause });
          });
        },
      }),
      { PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: env['TEST_LOG_LEVEL'] ?? 'silent' },
    );
    return new TestCaller(service, service.app.get(Database));
  }

  /** Hands off a task and returns its id. `on`: its token names the audience `tests`. */
  async handOff(
    handOff: Partial<HandOff> & { prompt: string },
    on: Subject,
    traceparent: string | null = null,
  ): Promise<string> {
    const [taskId] = await this.handOffAll([handOff], on, traceparent);
    return taskId!;
  }

  /** The same for many, in one commit. */
  async handOffAll(
    handOffs: Array<Partial<HandOff> & { prompt: string }>,
    on: Subject,
    traceparent: string | null = null,
  ): Promise<string[]> {
    const sender = this.service.app.get(HandOffs);
    const ids = handOffs.map(({ taskId }) => taskId ?? randomUUID());
    await sender.send(
      handOffs.map((handOff, i) =>
        sender.task({ agent: 'agent-test', ...handOff, taskId: ids[i]! }, { ...on, traceparent }),
      ),
    );
    return ids;
  }

  async cancel(taskId: string, on: Subject, sessionId?: string): Promise<void> {
    const handOffs = this.service.app.get(HandOffs);
    const message = handOffs.cancel({ taskId, agent: 'agent-test', sessionId }, { ...on, traceparent: null });
    await handOffs.send([message]);
  }

  /** Puts one message on the wire as it is; returns its id and that of its task. */
  async sendRaw({ id = randomUUID(), agent = 'agent-test', body, value, headers }: RawSend) {
    const event: AgentTaskEvent = {
      task_id: randomUUID(),
      source_agent: TEST_CALLER,
      target_agent: agent,
      session_id: `raw-${id}`,
      prompt: 'Hello',
      context: {},
      created_at: Date.now(),
      max_steps: null,
      token_budget: null,
      deadline: null,
      reply_to: TEST_CALLER,
      stream_steps: false,
      retry_count: 0,
      last_error: null,
      ...body,
    };
    const encoded = this.service.app.get(MessageCodec).encode('AgentTaskEvent', event);
    const all = {
      ...encoded.headers,
      ce_id: id,
      ce_source: `/services/${TEST_CALLER}`,
      ce_type: 'com.baton.agents.v1.AgentTaskEvent',
      ce_specversion: '1.0',
      ...headers,
    };
    const [outcome] = await this.service.app.get<Handoff>(HANDOFF).publish([
      {
        id,
        topic: tasksTopic(agent),
        key: event.session_id,
        headers: Object.fromEntries(
          Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined),
        ),
        value: value ?? encoded.value,
        createdAt: new Date(),
      },
    ]);
    if (outcome instanceof Error) throw outcome;
    return { id, taskId: event.task_id };
  }

  results(taskId?: string): Promise<AgentResultEvent[]> {
    return this.received<AgentResultEvent>('AgentResultEvent', 'task_id', taskId);
  }

  steps(taskId: string): Promise<AgentStepEvent[]> {
    return this.received<AgentStepEvent>('AgentStepEvent', 'task_id', taskId);
  }

  deadLetters(taskId?: string): Promise<DeadLetterEvent[]> {
    return this.received<DeadLetterEvent>('DeadLetterEvent', 'task_id', taskId);
  }

  /** The dead letters of one message. */
  deadLettersOf(messageId: string): Promise<DeadLetterEvent[]> {
    return this.received<DeadLetterEvent>('DeadLetterEvent', 'message_id', messageId);
  }

  events(taskId: string): Promise<AgentEvent[]> {
    return this.received<AgentEvent>('AgentEvent', 'task_id', taskId);
  }

  /** Forgets which messages have come, as a service does that was set back to an older state. */
  async forget(): Promise<void> {
    await this.database.query('delete from tests.inbox');
  }

  stop(): Promise<void> {
    return this.service.stop();
  }

  private async received<T extends object>(kind: string, field: string, value?: string): Promise<T[]> {
    const rows = await this.database.query<{ body: T }>(
      `select body from tests.received where kind = $1 and ($3::text is null or body->>$2 = $3) order by no`,
      [kind, field, value ?? null],
    );
    return rows.map(({ body }) => body);
  }
}
