import { Inject, Injectable } from '@nestjs/common';
import type { JWK } from 'jose';
import { Database, type Query } from '#libs/database';

export interface StoredKey {
  kid: string;
  publicJwk: JWK;
  sealed: Buffer;
  /** Milliseconds until it signs, by the database's clock; negative once it does, null for the next key. */
  signsInMs: number | null;
}

export interface NewKey {
  kid: string;
  publicJwk: JWK;
  sealed: Buffer;
}

/** The next key has to be known everywhere before it signs: to other instances, and to services that look unknown ids up. */
const LEAD_SECONDS = 10;

/** At most so many are published, however often they are rotated: every service reads them all (some 450 bytes each). */
export const MAX_KEYS = 400;

/** Table `identity.signing_keys`: of those with `signs_from` in the past the newest signs; one, the next, has none yet. */
@Injectable()
export class KeysRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  async all(): Promise<StoredKey[]> {
    const rows = await this.database.query<{
      kid: string;
      public_jwk: JWK;
      private_key: Buffer;
      signs_in_ms: number | null;
    }>(
      `select kid, public_jwk, private_key, (extract(epoch from signs_from - now()) * 1000)::float8 as signs_in_ms
       from identity.signing_keys order by created_no`,
    );
    return rows.map((row) => ({
      kid: row.kid,
      publicJwk: row.public_jwk,
      sealed: row.private_key,
      signsInMs: row.signs_in_ms,
    }));
  }

  /** The first two keys, unless another instance was faster. */
  async begin(current: NewKey, next: NewKey): Promise<boolean> {
    return this.alone(async (query) => {
      const [row] = await query<{ count: number }>(
        'select count(*)::int as count from identity.signing_keys',
      );
      if (row!.count > 0) return false;
      await insert(query, current);
      await query('update identity.signing_keys set signs_from = now() where kid = $1', [current.kid]);
      await insert(query, next);
      return true;
    });
  }

  /**
   * Lets the next key sign and puts `fresh` in its place, unless a key began to sign less than `minAgeHours` ago (of several instances
   * that rotate on schedule, one does) or there are `MAX_KEYS`.
   */
  async rotate(fresh: NewKey, minAgeHours: number): Promise<boolean> {
    return this.alone(async (query) => {
      const moved = await query(
        `update identity.signing_keys set signs_from = greatest(now(), created_at + $2 * interval '1 s')
         where signs_from is null and not exists (
           select 1 from identity.signing_keys where signs_from > now() - $1 * interval '1 hour')
           and (select count(*) from identity.signing_keys) < $3
         returning kid`,
        [minAgeHours, LEAD_SECONDS, MAX_KEYS],
      );
      if (moved.length > 0) await insert(query, fresh);
      return moved.length > 0;
    });
  }

  /** Whether the signing key has reached this age. */
  async isDue(ageHours: number): Promise<boolean> {
    const [row] = await this.database.query<{ due: boolean }>(
      `select not exists (select 1 from identity.signing_keys where signs_from > now() - $1 * interval '1 hour') as due`,
      [ageHours],
    );
    return row!.due;
  }

  /** Forgets keys that ended to sign more than `keepSeconds` ago. */
  async prune(keepSeconds: number): Promise<void> {
    await this.database.query(
      `delete from identity.signing_keys old where exists (
         select 1 from identity.signing_keys s
         where s.signs_from > old.signs_from and s.signs_from < now() - $1 * interval '1 s')`,
      [keepSeconds],
    );
  }

  private alone<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return this.database.transaction(async (query) => {
      await query(`select pg_advisory_xact_lock(hashtext('baton:identity:keys'))`);
      return work(query);
    });
  }
}

async function insert(query: Query, { kid, publicJwk, sealed }: NewKey): Promise<void> {
  await query('insert into identity.signing_keys (kid, public_jwk, private_key) values ($1, $2, $3)', [
    kid,
    JSON.stringify(publicJwk),
    sealed,
  ]);
}
