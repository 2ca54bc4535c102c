import { Module, type DynamicModule } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { MixedList } from 'typeorm';
import { Database, DATABASE_OPTIONS } from './database.js';

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

@Module({})
export class DatabaseModule {
  static forRoot(options: DatabaseOptions): DynamicModule {
    return {
      module: DatabaseModule,
      global: true,
      imports: [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: options.url,
          schema: options.schema,
          migrations: options.migrations,
          migrationsTableName: 'migrations',
          manualInitialization: true,
          poolSize: options.poolMax ?? 8,
          connectTimeoutMS: 2000,
          extra: {
            statement_timeout: options.statementTimeoutMs ?? 5000,
            idle_in_transaction_session_timeout: 10_000,
          },
        }),
      ],
      providers: [{ provide: DATABASE_OPTIONS, useValue: { schema: options.schema } }, Database],
      exports: [Database],
    };
  }
}
