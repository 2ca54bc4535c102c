import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { MessageKind } from '#libs/contracts';
import { Database, type Query, type Statement } from '#libs/database';
import type { MessageSubject, OutboxMessage } from './handoff.js';
import { HANDOFF_OPTIONS, type HandoffOptions } from './options.js';

/** A row that this relay publishes. */
export interface HeldMessage extends Required<Omit<OutboxMessage, 'body'>> {
  body: object;
  createdAt: Date;
  /** It was given to the transport before. */
  underWay: boolean;
}

interface Row {
  id: string;
  seq: string;
  destination: string;
  key: string;
  kind: MessageKind;
  body: object;
  tenant: string;
  user_id: string | null;
  subject_token: string | null;
  scopes: string | null;
  traceparent: string | null;
  created_at: Date;
  was_under_way?: boolean;
}

/**
 * For the rest of the transaction no plan may sort what an index has in order. An outbox is empty whenever statistics are made, so the planner
 * thinks that sorting all of it is cheap: 150 ms for the first 500 of 5,000 messages instead of 4.
 */
const IN_INDEX_ORDER = `set_config('enable_sort', 'off', true)`;

const TAKEN_OVER_AT_ONCE = 5000;

/** Tables `<schema>.messages` and `<schema>.relays`: the rows of one service, and whose turn it is to publish them. */
@Injectable()
export class OutboxRepository {
  private readonly table: string;
  private readonly turns: string;
  private readonly source: string;
  private readonly deletion: Statement;
  /** This process among the relays of the service. */
  private readonly holder = randomUUID();

  constructor(
    @Inject(Database) private readonly database: Database,
    @Inject(HANDOFF_OPTIONS) { schema, service }: HandoffOptions,
  ) {
    this.table = `${schema}.messages`;
    this.turns = `${schema}.relays`;
    this.source = service;
    this.deletion = {
      name: `outbox-delete-${this.table}`,
      text: `delete from ${this.table} where id = any($1::uuid[])`,
    };
  }

  /** Writes messages in the transaction of `query`, in their order. Call `MessageRelay.wake()` after the commit. */
  async add(query: Query, messages: readonly OutboxMessage[]): Promise<void> {
    const rows = messages.map(({ subject, ...message }, no) => ({
      no,
      ...message,
      id: message.id ?? randomUUID(),
      tenant: subject.tenant,
      user_id: subject.userId,
      subject_token: subject.token,
      scopes: subject.scopes.join(' '),
    }));
    await query(
      `insert into ${this.table} (id, source, destination, key, kind, body, tenant, user_id, subject_token, scopes, traceparent)
       select m.id, $2, m.destination, m.key, m.kind, m.body, m.tenant, m.user_id, m.subject_token, m.scopes, m.traceparent
       from json_to_recordset($1) as m(no int, id uuid, destination text, key text, kind text, body json, tenant text,
            user_id text, subject_token text, scopes text, traceparent text)
       order by m.no`,
      [JSON.stringify(rows), this.source],
    );
  }

  /**
   * Up to `limit` messages in the order of publishing, none that stands behind an earlier one of its destination and key which has to
   * wait. It is this relay's turn then for `holdMs` milliseconds, or until it finds nothing; while it is another's, there are none.
   * `oneAtATime`: none behind an earlier one at all, and as many again of those under way that are to be looked up; not the turn lasts
   * for `holdMs`, but until then none of them is due again.
   * Forgets `delivered` in the same commit: waiting for the disk is what a relay does most. `aside`: destinations to leave alone.
   */
  take(
    limit: number,
    holdMs: number,
    oneAtATime: boolean,
    delivered: readonly string[] = [],
    aside: readonly string[] = [],
  ): Promise<HeldMessage[]> {
    return this.database.transaction(async (query) => {
      const isItsTurn = await this.takeTurn(query, holdMs);
      if (delivered.length > 0) await query(this.deletion, [delivered]);
      if (!isItsTurn) return [];
      const rows = oneAtATime
        ? [
            ...(await this.takeFirsts(query, limit, holdMs, aside)),
            ...(await this.takeBack(query, limit, holdMs)),
          ]
        : await this.nextRows(query, limit, aside);
      // What another process commits from now on it can publish itself: it waits for this commit to know whose turn it is.
      if (rows.length === 0 || oneAtATime) await this.endTurn(query);
      return rows.toSorted((a, b) => (BigInt(a.seq) < BigInt(b.seq) ? -1 : 1)).map((row) => this.held(row));
    });
  }

  /** Lets another relay of the service begin at once. */
  async endTurn(query: Query = (sql, values) => this.database.query(sql, values)): Promise<void> {
    await query(`update ${this.turns} set until = '-infinity' where source = $1 and holder = $2`, [
      this.source,
      this.holder,
    ]);
  }

  private async takeTurn(query: Query, holdMs: number): Promise<boolean> {
    const rows = await query(
      `insert into ${this.turns} as t (source, holder, until) values ($1, $2, clock_timestamp() + $3 * interval '1 ms')
       on conflict (source) do update set holder = excluded.holder, until = excluded.until
       where t.holder = excluded.holder or t.until < clock_timestamp()
       returning ${IN_INDEX_ORDER}`,
      [this.source, this.holder, holdMs],
    );
    return rows.length > 0;
  }

  // Both are planned each time (no name): a plan that was made while the table was empty took 20 s for 4,000 rows. `offset 0` keeps
  // the look at earlier messages one by the index for each row, `IN_INDEX_ORDER` looks at no more rows than are taken.

  private nextRows(query: Query, limit: number, aside: readonly string[]): Promise<Row[]> {
    return query<Row>(
      `select m.* from ${this.table} m
       where m.source = $1 and not m.under_way and m.due_at <= now() and m.destination <> all($3::text[]) and not exists (
         select 1 from ${this.table} e
         where e.source = m.source and e.destination = m.destination and e.key = m.key and e.seq < m.seq and e.due_at > now()
         offset 0)
       order by m.seq limit $2`,
      [this.source, limit, aside],
    );
  }

  private takeFirsts(query: Query, limit: number, holdMs: number, aside: readonly string[]): Promise<Row[]> {
    return query<Row>(
      `with next as (
         select m.id from ${this.table} m
         where m.source = $1 and not m.under_way and m.due_at <= now() and m.destination <> all($4::text[]) and not exists (
           select 1 from ${this.table} e
           where e.source = m.source and e.destination = m.destination and e.key = m.key and e.seq < m.seq
           offset 0)
         order by m.seq limit $2)
       update ${this.table} m set due_at = now() + $3 * interval '1 ms', under_way = true from next where m.id = next.id
       returning m.*`,
      [this.source, limit, holdMs, aside],
    );
  }

  private takeBack(query: Query, limit: number, holdMs: number): Promise<Row[]> {
    return query<Row>(
      `with next as (
         select id from ${this.table} where source = $1 and under_way and due_at <= now()
         order by due_at limit $2)
       update ${this.table} m set due_at = now() + $3 * interval '1 ms' from next where m.id = next.id
       returning m.*, true as was_under_way`,
      [this.source, limit, holdMs],
    );
  }

  /**
   * True when some message could be taken. Where messages are never under way (not `oneAtATime`), those that are it were given to another transport,
   * which was in use before: they wait again.
   */
  hasDue(oneAtATime: boolean): Promise<boolean> {
    const given = `select id from ${this.table} where source = $1 and under_way`;
    return this.inIndexOrder(async (query) => {
      const rows = await query(
        `with given as (${
          oneAtATime
            ? `${given} and due_at <= now() order by due_at limit 1`
            : `update ${this.table} set under_way = false, due_at = now()
               where id in (${given} order by due_at limit ${TAKEN_OVER_AT_ONCE}) returning id`
        })
         (select id from ${this.table} where source = $1 and not under_way and due_at <= now() order by seq limit 1)
         union all select id from given limit 1`,
        [this.source],
      );
      return rows.length > 0;
    });
  }

  private inIndexOrder<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return this.database.transaction(async (query) => {
      await query(`select ${IN_INDEX_ORDER}`);
      return work(query);
    });
  }

  /** Forgets what was delivered. */
  async delete(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await this.database.query(this.deletion, [ids]);
  }

  /** Messages that wait: they are due again after `pauseMs` milliseconds. Those of `underWay` still may be in the hands of the transport. */
  async release(ids: readonly string[], pauseMs: number, underWay: readonly string[] = []): Promise<void> {
    if (ids.length === 0) return;
    await this.database.query(
      `update ${this.table} set due_at = now() + $2 * interval '1 ms', under_way = id = any($3::uuid[]) where id = any($1::uuid[])`,
      [ids, pauseMs, underWay],
    );
  }

  /** Messages that are under way for long are due again after a tenth of their age, at most `longestMs` milliseconds, if that is later than they are. */
  async leaveUnderWay(ids: readonly string[], longestMs: number): Promise<void> {
    if (ids.length === 0) return;
    await this.database.query(
      `update ${this.table} set due_at = greatest(due_at, now() + least((now() - created_at) / 10, $2 * interval '1 ms'))
       where id = any($1::uuid[])`,
      [ids, longestMs],
    );
  }

  /** Puts another message in the place of one that can never be sent. Of a dead letter it is the same one in other words, which may be under way. */
  async replace(
    id: string,
    { destination, key, kind, body }: Omit<OutboxMessage, 'subject' | 'traceparent'>,
  ) {
    await this.database.query(
      `with gone as (delete from ${this.table} where id = $1 returning *)
       insert into ${this.table} (id, source, destination, key, kind, body, tenant, user_id, traceparent)
       select case kind when 'DeadLetterEvent' then id else gen_random_uuid() end, source, $2, $3, $4, $5, tenant, user_id, traceparent from gone`,
      [id, destination, key, kind, JSON.stringify(body)],
    );
  }

  /**
   * `waitingSeconds`: since the oldest message was written that was not handed to the transport, 0 when there is none; what stands behind one that is
   * under way waits for its recipient. `underWay`: how many are in the hands of the transport.
   */
  async standing(): Promise<{ waitingSeconds: number; underWay: number }> {
    const [row] = await this.inIndexOrder((query) =>
      query<{ age: number | null; under_way: number }>(
        `select (select extract(epoch from now() - m.created_at)::float8 from ${this.table} m
               where m.source = $1 and not m.under_way and not exists (
                 select 1 from ${this.table} e
                 where e.source = m.source and e.destination = m.destination and e.key = m.key and e.seq < m.seq and e.under_way
                 offset 0)
               order by m.seq limit 1) as age,
              (select count(*)::int from ${this.table} where source = $1 and under_way) as under_way`,
        [this.source],
      ),
    );
    return { waitingSeconds: Math.max(0, row?.age ?? 0), underWay: row?.under_way ?? 0 };
  }

  private held(row: Row): HeldMessage {
    const subject: MessageSubject = {
      tenant: row.tenant,
      userId: row.user_id,
      scopes: row.scopes?.split(' ').filter(Boolean) ?? [],
      token: row.subject_token,
    };
    const { id, destination, key, kind, body, traceparent, created_at: createdAt } = row;
    const underWay = row.was_under_way ?? false;
    return { id, destination, key, kind, body, subject, traceparent, createdAt, underWay };
  }
}
