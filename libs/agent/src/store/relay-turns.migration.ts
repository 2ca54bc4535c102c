import { relayTable } from '#libs/messaging';
import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Whose turn it is to publish the outbox of messages. */
export class RelayTurns1764200000001 implements MigrationInterface {
  name = 'RelayTurns1764200000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(relayTable('agents'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table agents.relays');
  }
}
