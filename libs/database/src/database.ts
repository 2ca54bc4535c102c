import { Inject, Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import type { DataSource } from 'typeorm';
import { messageOf, RetryableError } from '#libs/contracts';
import { LOGGER, Readiness } from '#libs/chassis';
import type { Logger } from '#libs/telemetry';
import { migrate, poolOf } from './migrate.js';

export const DATABASE_OPTIONS = Symbol('DatabaseOptions');
export const DATA_SOURCE = Symbol('DataSource');

/** SQL with `$1` parameters. A `name` makes it a prepared statement: for the few statements of the hot path. */
export interface Statement {
  name?: string;
  text: string;
}

/** Runs statements on one connection inside a transaction. */
export type Query = <R extends QueryResultRow>(sql: string | Statement, values?: unknown[]) => Promise<R[]>;

const RETRY_CONNECT_MS = 1000;

/**
 * The service's Postgres: TypeORM owns the pool and the migrations, SQL is written as SQL.
 * Connects and migrates in the background, so that a service boots without its database; until then, and whenever Postgres
 * is away, queries raise `RetryableError` `database-unavailable` (503).
 */
@Injectable()
export class Database implements OnModuleInit, OnApplicationShutdown {
  private pool?: Pool;
  private closed = false;
  private lastCause = 'not connected yet';
  private ready!: () => void;
  /** Resolves once Postgres was reached and the migrations ran. */
  readonly whenReady = new Promise<void>((resolve) => (this.ready = resolve));

  constructor(
    @Inject(DATA_SOURCE) private readonly source: DataSource,
    @Inject(DATABASE_OPTIONS) private readonly options: { schema: string },
    @Inject(Readiness) readiness: Readiness,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    readiness.add({
      name: 'postgres',
      check: () => this.query('select 1'),
      fix: 'start Postgres, or correct DATABASE_URL',
    });
  }

  async onModuleInit(): Promise<void> {
    if (!(await this.connect())) void this.keepConnecting();
  }

  onApplicationShutdown(): void {
    this.closed = true;
  }

  async query<R extends QueryResultRow>(sql: string | Statement, values: unknown[] = []): Promise<R[]> {
    if (!this.pool) throw unavailable(this.lastCause);
    try {
      return (await this.pool.query<R>(asStatement(sql), values)).rows;
    } catch (error) {
      throw translate(error);
    }
  }

  /** Commits when `work` resolves, rolls back when it throws. Never wait for anything but the database inside. */
  async transaction<T>(work: (query: Query) => Promise<T>): Promise<T> {
    if (!this.pool) throw unavailable(this.lastCause);
    let client: PoolClient;
    try {
      client = await this.pool.connect();
    } catch (error) {
      throw translate(error);
    }
    let broken: Error | undefined;
    // Without a listener, a connection that breaks between two statements would end the process.
    const onError = (error: Error) => (broken = error);
    client.on('error', onError);
    try {
      await client.query('begin');
      const result = await work(
        async (sql, values = []) => (await client.query(asStatement(sql), values)).rows,
      );
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback').catch((failure: Error) => (broken = failure));
      throw translate(error);
    } finally {
      client.removeListener('error', onError);
      client.release(broken);
    }
  }

  private async connect(): Promise<boolean> {
    try {
      if (!this.source.isInitialized) await this.source.initialize();
      await migrate(this.source, this.options.schema);
      this.pool = poolOf(this.source);
      this.ready();
      return true;
    } catch (error) {
      this.lastCause = messageOf(error);
      this.logger.warn({ err: this.lastCause }, 'database not ready');
      return false;
    }
  }

  private async keepConnecting(): Promise<void> {
    do await new Promise((resolve) => setTimeout(resolve, RETRY_CONNECT_MS).unref());
    while (!this.closed && !(await this.connect()));
  }
}

function asStatement(sql: string | Statement): Statement {
  return typeof sql === 'string' ? { text: sql } : sql;
}

function unavailable(cause: string): RetryableError {
  return new RetryableError('database-unavailable', `Postgres is not available: ${cause}`, {
    retryAfterMs: 1000,
  });
}

/** Postgres error classes and driver errors that mean "away", not "wrong". */
function translate(error: unknown): unknown {
  const { code = '', message = '' } = (error ?? {}) as { code?: string; message?: string };
  const away =
    /^(08|53|57P)/.test(code) ||
    ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOENT', 'ETIMEDOUT'].includes(code) ||
    /Connection terminated|Query read timeout|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after/.test(
      message,
    );
  if (away)
    return new RetryableError('database-unavailable', `Postgres is not available: ${message || code}`, {
      retryAfterMs: 1000,
      cause: error,
    });
  if (code === '57014' || code === '55P03')
    return new RetryableError('database-timeout', 'The database took too long', {
      retryAfterMs: 1000,
      cause: error,
    });
  return error;
}
