import { randomBytes, randomUUID } from 'node:crypto';
import { Controller, Global, Inject, Module, type Type } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { Pool } from 'pg';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { Tokens } from '#libs/auth';
import { loadConfig, startService, type Env, type RunningService } from '#libs/chassis';
import { DEAD_LETTERS_TOPIC, TerminalError, type AgentTaskEvent } from '#libs/contracts';
import { Database, DatabaseModule, type Query } from '#libs/database';
import {
  connectHandoff,
  deadLetterOf,
  HANDOFF_CONFIG,
  HandoffModule,
  handoffTables,
  relayTable,
  InboxRepository,
  MessageRelay,
  MessagingModule,
  OutboxRepository,
  type IncomingMessage,
  type OutboxMessage,
} from '#libs/messaging';

/** A schema with the hand-off's tables and `effects`: one row per message that was handled. */
class Tables1700000000000 implements MigrationInterface {
  name = 'Tables1700000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(handoffTables('handoff') + relayTable('handoff'));
    await runner.query(`create table handoff.effects (no bigint generated always as identity, message_id uuid not null,
      service text not null, key text not null, prompt text not null)`);
  }

  async down(): Promise<void> {}
}

export interface Effect {
  message_id: string;
  service: string;
  key: string;
  prompt: string;
}

/** A database of its own for one test file. */
export async function handoffDatabase() {
  const name = `handoff_${randomBytes(6).toString('hex')}`;
  const serverUrl = process.env['TEST_DATABASE_URL'];
  if (!serverUrl) throw new Error('TEST_DATABASE_URL is not set');
  const server = new Pool({ connectionString: serverUrl, max: 1 });
  await server.query(`create database ${name}`);
  const url = new URL(name, serverUrl).href;
  const pool = new Pool({ connectionString: url, max: 2 });
  pool.on('error', () => undefined);
  return {
    url,
    pool,
    effects: async (): Promise<Effect[]> =>
      (await pool.query<Effect>('select message_id, service, key, prompt from handoff.effects order by no'))
        .rows,
    outbox: async (): Promise<number> =>
      (await pool.query<{ n: number }>('select count(*)::int as n from handoff.messages')).rows[0]!.n,
    drop: async () => {
      await pool.end();
      await server.query(`drop database ${name} with (force)`);
      await server.end();
    },
  };
}

/** A subject token that the identity service refuses. */
export const REFUSED_TOKEN = 'refused';

const tokens: Pick<Tokens, 'authorization'> = {
  authorization: async (audience, subject) => {
    if (subject?.token === REFUSED_TOKEN) throw new TerminalError('unauthenticated', 'The token is too old');
    return `Bearer for-${audience}`;
  },
};

@Global()
@Module({
  providers: [{ provide: Tokens, useValue: tokens }],
  exports: [Tokens],
})
class FakeAuthModule {}

export type OnMessage = (message: IncomingMessage, effect: () => Promise<void>) => Promise<void>;

export interface MemberOptions {
  /** Whose messages it sends; with `topic`, also its consumer group. */
  service: string;
  databaseUrl: string;
  env: Env;
  topic?: string;
  /** By default the effect alone: inbox row and a row of `effects` in one transaction. */
  onMessage?: OnMessage;
  onCrash?: (error: unknown) => void;
}

/** A service that hands off and, with `topic`, consumes. */
export async function startMember(options: MemberOptions) {
  const { service, databaseUrl, env, topic, onMessage = (_, effect) => effect() } = options;
  const config = loadConfig(env, HANDOFF_CONFIG);
  const running = await startService(
    () => ({
      name: service,
      description: 'A service under test',
      imports: [
        FakeAuthModule,
        DatabaseModule.forRoot({ url: databaseUrl, schema: 'handoff', migrations: [Tables1700000000000] }),
        MessagingModule.forRoot(process.env['TEST_REDIS_URL']!),
        HandoffModule.forRoot({ service, schema: 'handoff', config, onCrash: options.onCrash }),
      ],
      controllers: topic ? [consumerOf(topic, service, onMessage)] : [],
    }),
    { PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent' },
  );
  const { app } = running;
  const [database, outbox, inbox, relay] = [
    app.get(Database),
    app.get(OutboxRepository),
    app.get(InboxRepository),
    app.get(MessageRelay),
  ];
  await database.whenReady;
  if (topic)
    await connectHandoff(app, async (poison) => {
      const { raw } = poison;
      const letter: OutboxMessage<'DeadLetterEvent'> = {
        destination: DEAD_LETTERS_TOPIC,
        key: raw.key,
        kind: 'DeadLetterEvent',
        body: deadLetterOf(poison, service),
        subject: { tenant: 'system', userId: null, scopes: [], token: null },
        traceparent: raw.traceparent,
      };
      await database.transaction(async (query) => {
        if (await inbox.record(query, raw.id)) await outbox.add(query, [letter]);
      });
      relay.wake();
    });
  const send = async (messages: readonly OutboxMessage[]) => {
    await database.transaction((query: Query) => outbox.add(query, messages));
    relay.wake();
  };
  return { ...running, database, outbox, inbox, relay, send };
}

export type Member = RunningService & Awaited<ReturnType<typeof startMember>>;

function consumerOf(topic: string, service: string, onMessage: OnMessage): Type {
  @Controller()
  class Consumer {
    constructor(
      @Inject(Database) private readonly database: Database,
      @Inject(InboxRepository) private readonly inbox: InboxRepository,
    ) {}

    @EventPattern<string>(topic)
    async handle(@Payload() message: IncomingMessage): Promise<void> {
      await onMessage(message, () =>
        this.database.transaction(async (query) => {
          if (!(await this.inbox.record(query, message.id))) return;
          const { prompt } = message.body as AgentTaskEvent;
          await query(
            'insert into handoff.effects (message_id, service, key, prompt) values ($1, $2, $3, $4)',
            [message.id, service, message.key, prompt],
          );
        }),
      );
    }
  }
  return Consumer;
}

/** A task for `topic` in a session. */
export function taskMessage(topic: string, key: string, prompt: string): OutboxMessage<'AgentTaskEvent'> {
  return {
    id: randomUUID(),
    destination: topic,
    key,
    kind: 'AgentTaskEvent',
    body: {
      task_id: randomUUID(),
      source_agent: 'orchestrator',
      target_agent: 'agent-search',
      session_id: key,
      prompt,
      context: {},
      created_at: Date.now(),
      max_steps: null,
      token_budget: null,
      deadline: null,
      reply_to: null,
      stream_steps: false,
      retry_count: 0,
      last_error: null,
    },
    subject: { tenant: 'acme', userId: 'ada', scopes: ['tasks:write'], token: null },
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  };
}

export async function until(holds: () => Promise<boolean> | boolean, withinMs = 20_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not so within ${withinMs} ms: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
