import { underWayColumn } from '#libs/messaging';
import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Which messages lie in a queue; their number costs the others nothing. */
export class UnderWay1764400000000 implements MigrationInterface {
  name = 'UnderWay1764400000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(underWayColumn('agents'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(
      `alter table agents.messages drop column under_way;
       create index if not exists messages_next on agents.messages (source, seq)`,
    );
  }
}
