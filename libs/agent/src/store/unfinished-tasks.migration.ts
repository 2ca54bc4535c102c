import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What the reconciler walks through: an agent's unfinished tasks in the order of their acceptance. */
export class UnfinishedTasks1764200000000 implements MigrationInterface {
  name = 'UnfinishedTasks1764200000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      'create index tasks_unfinished on agents.tasks (agent_id, accepted_no) where finished_at is null',
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop index agents.tasks_unfinished');
  }
}
