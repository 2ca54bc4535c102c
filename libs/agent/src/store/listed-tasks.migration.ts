import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The predicate of the indexes for lists of tasks, true for all; a query says it to use them. */
export const LISTED = 'accepted_no > 0';

/**
 * The indexes for lists, so that nothing but a list finds them: planned without statistics, the look at the earlier tasks of a session took one that
 * knows no session, and each of 12,000 waiting tasks was compared with thousands.
 */
export class ListedTasks1764460000001 implements MigrationInterface {
  name = 'ListedTasks1764460000001';

  /** `agents.tasks` may be large, and tasks are accepted meanwhile. */
  transaction = false;

  async up(runner: QueryRunner): Promise<void> {
    await this.replace(
      runner,
      'tasks_newest',
      'tasks_listed',
      `(tenant, agent_id, accepted_no) where ${LISTED}`,
    );
    await this.replace(
      runner,
      'tasks_of_session',
      'tasks_listed_of_session',
      `(tenant, session_id, accepted_no) where ${LISTED}`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await this.replace(runner, 'tasks_listed', 'tasks_newest', '(tenant, agent_id, accepted_no)');
    await this.replace(
      runner,
      'tasks_listed_of_session',
      'tasks_of_session',
      '(tenant, session_id, accepted_no)',
    );
  }

  private async replace(runner: QueryRunner, former: string, name: string, columns: string): Promise<void> {
    // It waits for all that run. What an interrupted attempt leaves is not valid.
    await runner.query('set lock_timeout = 0');
    await runner.query(`drop index concurrently if exists agents.${name}`);
    await runner.query(`create index concurrently ${name} on agents.tasks ${columns}`);
    await runner.query(`drop index concurrently if exists agents.${former}`);
    await runner.query('reset lock_timeout');
  }
}
