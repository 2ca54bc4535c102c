import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The order in which dispatches are told: behind a long queue there may be many. Until now the table was empty but for a second's rows. */
export class OutboxOrder1764460000000 implements MigrationInterface {
  name = 'OutboxOrder1764460000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table agents.outbox add column held_until timestamptz;
      create index outbox_due on agents.outbox (agent_id, due_at);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop index agents.outbox_due; alter table agents.outbox drop column held_until');
  }
}
