import { Inject, Injectable } from '@nestjs/common';
import type { ToolOutcome } from '#libs/contracts';
import { Database } from '#libs/database';

/** One call with side effects. The key is unique per tenant and caller. */
export interface EffectCall {
  tenant: string;
  caller: string;
  key: string;
  tool: string;
  version: string;
  argumentsHash: string;
}

export interface Effect {
  tool: string;
  version: string;
  argumentsHash: string;
  state: 'started' | 'done' | 'unknown';
  /** Fences: a write of an earlier attempt no longer counts. */
  attempt: number;
  /** The attempt's deadline has passed; whoever made it is gone, or too late. */
  expired: boolean;
  outcome: ToolOutcome | null;
}

const THIS_CALL = 'tenant = $1 and caller = $2 and key = $3';
const idOf = ({ tenant, caller, key }: EffectCall) => [tenant, caller, key];

/** Table `registry.effects`. Only the database's clock is read. */
@Injectable()
export class EffectsRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  /** Claims the key for a first attempt that lasts at most `deadlineMs`. False: the key is known. */
  async begin(call: EffectCall, deadlineMs: number): Promise<boolean> {
    const rows = await this.database.query(
      {
        name: 'effect-begin',
        text: `insert into registry.effects (tenant, caller, key, tool, version, arguments_hash, state, attempt, deadline)
               values ($1, $2, $3, $4, $5, $6, 'started', 1, now() + $7 * interval '1 millisecond')
               on conflict do nothing returning attempt`,
      },
      [...idOf(call), call.tool, call.version, call.argumentsHash, deadlineMs],
    );
    return rows.length === 1;
  }

  async find(call: EffectCall): Promise<Effect | undefined> {
    const rows = await this.database.query<Effect>(
      `select tool, version, arguments_hash as "argumentsHash", state, attempt, deadline < now() as expired, outcome
       from registry.effects where ${THIS_CALL}`,
      idOf(call),
    );
    return rows[0];
  }

  /** Claims an attempt that was given up. False: somebody else did, or it has ended. */
  async takeOver(call: EffectCall, attempt: number, deadlineMs: number): Promise<boolean> {
    const rows = await this.database.query(
      `update registry.effects set attempt = attempt + 1, deadline = now() + $5 * interval '1 millisecond'
       where ${THIS_CALL} and attempt = $4 and state = 'started' and deadline < now() returning attempt`,
      [...idOf(call), attempt, deadlineMs],
    );
    return rows.length === 1;
  }

  /** Stores how the attempt ended. False: the attempt no longer counts. */
  async finish(
    call: EffectCall,
    attempt: number,
    state: 'done' | 'unknown',
    outcome: ToolOutcome,
  ): Promise<boolean> {
    const rows = await this.database.query(
      {
        name: 'effect-finish',
        text: `update registry.effects set state = $5, outcome = $6, finished_at = now()
               where ${THIS_CALL} and attempt = $4 and state = 'started' returning attempt`,
      },
      [...idOf(call), attempt, state, JSON.stringify(outcome)],
    );
    return rows.length === 1;
  }

  /** Forgets an attempt that certainly had no effect, so that the key may be used again. */
  async forget(call: EffectCall, attempt: number): Promise<void> {
    await this.database.query(
      `delete from registry.effects where ${THIS_CALL} and attempt = $4 and state = 'started'`,
      [...idOf(call), attempt],
    );
  }

  /** Deletes at most `limit` effects older than `days`; answers how many. */
  async prune(days: number, limit: number): Promise<number> {
    const rows = await this.database.query(
      `delete from registry.effects where ctid in (
         select ctid from registry.effects where started_at < now() - $1 * interval '1 day' order by started_at limit $2
       ) returning 1`,
      [days, limit],
    );
    return rows.length;
  }
}
