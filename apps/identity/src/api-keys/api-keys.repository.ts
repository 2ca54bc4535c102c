import { Inject, Injectable } from '@nestjs/common';
import type { Scope } from '#libs/auth';
import { Database } from '#libs/database';
import type { ApiKeyView } from './api-key.dto.js';

export interface NewApiKey {
  id: string;
  tenant: string;
  user: string | null;
  name: string;
  scopes: Scope[];
  secretHash: Buffer;
  createdBy: string;
  expiresAt: string | null;
}

export interface StoredApiKey {
  tenant: string;
  user: string | null;
  scopes: Scope[];
  secretHash: Buffer;
  /** Not revoked and not expired, by the database's clock. */
  usable: boolean;
  expiresInSeconds: number | null;
}

interface ViewRow {
  id: string;
  created_no: string;
  tenant: string;
  user_id: string | null;
  name: string;
  scopes: Scope[];
  created_by: string;
  created_at: Date;
  expires_at: Date | null;
  last_used_at: Date | null;
  revoked_at: Date | null;
}

const VIEW =
  'id, created_no, tenant, user_id, name, scopes, created_by, created_at, expires_at, last_used_at, revoked_at';
const PAGE = 100;

/** Tables `identity.tenants`, `identity.users` and `identity.api_keys`. */
@Injectable()
export class ApiKeysRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  /** Adds the key, its user if it is new and, when `newTenants`, its tenant; null when there is no such tenant. */
  async add(key: NewApiKey, newTenants: boolean): Promise<ApiKeyView | null> {
    return this.database.transaction(async (query) => {
      if (newTenants)
        await query('insert into identity.tenants (id) values ($1) on conflict do nothing', [key.tenant]);
      const tenants = await query('select 1 from identity.tenants where id = $1', [key.tenant]);
      if (tenants.length === 0) return null;
      if (key.user !== null)
        await query('insert into identity.users (tenant, id) values ($1, $2) on conflict do nothing', [
          key.tenant,
          key.user,
        ]);
      const [row] = await query<ViewRow>(
        `insert into identity.api_keys (id, tenant, user_id, name, scopes, secret_hash, created_by, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning ${VIEW}`,
        [key.id, key.tenant, key.user, key.name, key.scopes, key.secretHash, key.createdBy, key.expiresAt],
      );
      return viewOf(row!);
    });
  }

  async find(id: string): Promise<StoredApiKey | null> {
    const [row] = await this.database.query<{
      tenant: string;
      user_id: string | null;
      scopes: Scope[];
      secret_hash: Buffer;
      usable: boolean;
      expires_in: number | null;
    }>(
      {
        name: 'api-keys-find',
        text: `select tenant, user_id, scopes, secret_hash, revoked_at is null and coalesce(expires_at > now(), true) as usable,
                      extract(epoch from expires_at - now())::float8 as expires_in
               from identity.api_keys where id = $1`,
      },
      [id],
    );
    if (!row) return null;
    return {
      tenant: row.tenant,
      user: row.user_id,
      scopes: row.scopes,
      secretHash: row.secret_hash,
      usable: row.usable,
      expiresInSeconds: row.expires_in === null ? null : Math.floor(row.expires_in),
    };
  }

  /** To the minute: a key in use does not cost a write per request. */
  async used(id: string): Promise<void> {
    await this.database.query(
      `update identity.api_keys set last_used_at = now()
       where id = $1 and coalesce(last_used_at < now() - interval '1 minute', true)`,
      [id],
    );
  }

  /** Newest first; `tenant` null lists those of all tenants. */
  async page(
    tenant: string | null,
    before: string | null,
  ): Promise<{ keys: ApiKeyView[]; next: string | null }> {
    const rows = await this.database.query<ViewRow>(
      `select ${VIEW} from identity.api_keys
       where ($1::text is null or tenant = $1) and ($2::bigint is null or created_no < $2) order by created_no desc limit $3`,
      [tenant, before, PAGE + 1],
    );
    const page = rows.slice(0, PAGE);
    return { keys: page.map(viewOf), next: rows.length > PAGE ? page.at(-1)!.created_no : null };
  }

  /** False when the tenant (null: no tenant at all) has no such key. A key that was revoked before stays so. */
  async revoke(id: string, tenant: string | null): Promise<boolean> {
    const rows = await this.database.query(
      `update identity.api_keys set revoked_at = coalesce(revoked_at, now())
       where id = $1 and ($2::text is null or tenant = $2) returning id`,
      [id, tenant],
    );
    return rows.length > 0;
  }
}

function viewOf(row: ViewRow): ApiKeyView {
  return {
    id: row.id,
    tenant: row.tenant,
    user: row.user_id,
    name: row.name,
    scopes: row.scopes,
    created_by: row.created_by,
    created_at: row.created_at.toISOString(),
    expires_at: row.expires_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
    revoked_at: row.revoked_at?.toISOString() ?? null,
  };
}
