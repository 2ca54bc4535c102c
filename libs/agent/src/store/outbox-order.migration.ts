import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The order in which dispatches are told: behind a long queue there may be many. */
export class OutboxOrder1764460000000 implements MigrationInterface {
  name = 'OutboxOrder1764460000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('create index outbox_due on agents.outbox (agent_id, due_at)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop index agents.outbox_due');
  }
}
