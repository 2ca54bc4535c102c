import { Module, type DynamicModule } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { MixedList } from 'typeorm';
import { DATA_SOURCE, Database, DATABASE_OPTIONS } from './database.js';

export interface DatabaseOptions {
  /** `postgres://user:password@host:port/database` */
  url: string;
  /** The schema that this owner keeps to. */
  schema: string;
  /** TypeORM migration classes of the schema; their names end with a 13-digit timestamp. */
  // oxlint-disable-next-line typescript/no-unsafe-function-type -- TypeORM's own type
  migrations: MixedList<Function>;
  /** Connections. The sum over all services stays under the server's `max_connections`. Default 8. */
  poolMax?: number;
  /** Milliseconds after which Postgres gives up a statement. Default 5,000. */
  statementTimeoutMs?: number;
}

/**
 * Statements address rows by key in batches of unknown size. Left alone, Postgres plans them while a table is small and then keeps
 * scanning it as it grows; with these settings of a connection it takes the indexes from the start, and plans a prepared statement once.
 */
export const KEYED_PLANS =
  '-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan';

@Module({})
export class DatabaseModule {
  static forRoot(options: DatabaseOptions): DynamicModule {
    const statementTimeoutMs = options.statementTimeoutMs ?? 5000;
    return {
      module: DatabaseModule,
      global: true,
      imports: [
        TypeOrmModule.forRoot({
          // Many services may live in one process: the schema tells their data sources apart.
          name: options.schema,
          type: 'postgres',
          url: options.url,
          schema: options.schema,
          migrations: options.migrations,
          migrationsTableName: 'migrations',
          manualInitialization: true,
          poolSize: options.poolMax ?? 8,
          connectTimeoutMS: 2000,
          extra: {
            options: KEYED_PLANS,
            statement_timeout: statementTimeoutMs,
            // The server's limit says nothing of a connection that went silent.
            query_timeout: statementTimeoutMs + 2000,
            keepAlive: true,
            idle_in_transaction_session_timeout: 10_000,
          },
        }),
      ],
      providers: [
        { provide: DATABASE_OPTIONS, useValue: { schema: options.schema } },
        { provide: DATA_SOURCE, useExisting: getDataSourceToken(options.schema) },
        Database,
      ],
      exports: [Database],
    };
  }
}
