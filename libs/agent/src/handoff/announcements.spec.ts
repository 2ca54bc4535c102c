import type { Agent } from '../agent.js';
import { newTask } from '../agent.fixture.js';
import { Announcements } from './announcements.js';

const of = (brokers: string, asked: boolean) => {
  const config = { KAFKA_BROKERS: brokers, ACCEPTED_EVENTS: asked };
  return new Announcements({ definition: { id: 'agent-x' }, config } as Agent, { wake: () => undefined });
};

it.each([
  ['localhost:9092', true, ['task.accepted']],
  ['localhost:9092', false, []],
  ['', true, []],
] as const)(
  'an acceptance is an event where Kafka carries it and it is asked for (%s, %s)',
  (brokers, asked, types) => {
    const messages = of(brokers, asked).accepted(newTask({ prompt: 'secret' }));
    expect(messages.map(({ body }) => (body as { type: string }).type)).toEqual(types);
    expect(JSON.stringify(messages)).not.toContain('secret');
  },
);
