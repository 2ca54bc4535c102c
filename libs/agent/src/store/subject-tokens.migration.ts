import type { MigrationInterface, QueryRunner } from 'typeorm';

/** For whom a task runs: the scopes of its caller, and the token with which the agent acts until the task has ended. */
export class SubjectTokens1764000000000 implements MigrationInterface {
  name = 'SubjectTokens1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('alter table agents.tasks add column subject_token text, add column scopes text');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table agents.tasks drop column subject_token, drop column scopes');
  }
}
