import { Inject, Injectable } from '@nestjs/common';
import { Database, type Query } from '#libs/database';
import { HANDOFF_OPTIONS, type HandoffOptions } from './options.js';

/** Table `<schema>.inbox`: the messages that this service has handled. */
@Injectable()
export class InboxRepository {
  private readonly table: string;
  private readonly consumer: string;

  constructor(
    @Inject(Database) private readonly database: Database,
    @Inject(HANDOFF_OPTIONS) { schema, service }: HandoffOptions,
  ) {
    this.table = `${schema}.inbox`;
    this.consumer = service;
  }

  /**
   * In the transaction of `query`, before what follows from the message: false when it was handled before.
   * @param messageId of `inboxId`
   */
  async record(query: Query, messageId: string): Promise<boolean> {
    const rows = await query(
      `insert into ${this.table} (consumer, message_id) values ($1, $2) on conflict do nothing returning 1`,
      [this.consumer, messageId],
    );
    return rows.length > 0;
  }

  /** Deletes up to `limit` rows older than `days`; returns how many. */
  async prune(days: number, limit: number): Promise<number> {
    const rows = await this.database.query(
      `delete from ${this.table} i using (
         select consumer, message_id from ${this.table} where received_at < now() - $1 * interval '1 day' order by received_at limit $2) old
       where i.consumer = old.consumer and i.message_id = old.message_id returning 1`,
      [days, limit],
    );
    return rows.length;
  }
}
