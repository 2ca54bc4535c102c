import { Inject, Injectable } from '@nestjs/common';
import { Database, type Query } from '#libs/database';
import type { ToolDefinition } from '#libs/contracts';
import type { RegisteredTool } from './registered-tool.js';

interface ToolRow {
  owner: string;
  hash: string;
  definition: ToolDefinition;
  revision: string;
}

/** Table `registry.tools`. */
@Injectable()
export class ToolsRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  /** What was registered or moved after `revision`, in order. */
  async changedSince(revision: string): Promise<{ tools: RegisteredTool[]; revision: string }> {
    const rows = await this.database.query<ToolRow & { definition: ToolDefinition }>(
      {
        name: 'tools-changed',
        text: 'select owner, hash, definition, revision from registry.tools where revision > $1 order by revision',
      },
      [revision],
    );
    return { tools: rows, revision: rows.at(-1)?.revision ?? revision };
  }

  /** Registrations run one at a time over all instances: revisions commit in order and no two services take one name. */
  registering<T>(work: (registration: Registration) => Promise<T>): Promise<T> {
    return this.database.transaction(async (query) => {
      await query(`select pg_advisory_xact_lock(hashtext('baton:registry:register'))`);
      return work(new Registration(query));
    });
  }
}

/** The statements of one registration. */
export class Registration {
  constructor(private readonly query: Query) {}

  versionsOf(name: string): Promise<RegisteredTool[]> {
    return this.query<ToolRow>('select owner, hash, definition from registry.tools where name = $1', [name]);
  }

  async add({ definition, owner, hash }: RegisteredTool): Promise<void> {
    await this.query(
      'insert into registry.tools (name, version, owner, hash, definition) values ($1, $2, $3, $4, $5)',
      [definition.name, definition.version, owner, hash, JSON.stringify(definition)],
    );
  }

  async move({ name, version, ...definition }: ToolDefinition): Promise<void> {
    await this.query(
      `update registry.tools set definition = $3, revision = nextval('registry.tool_revision') where name = $1 and version = $2`,
      [name, version, JSON.stringify({ name, version, ...definition })],
    );
  }
}
