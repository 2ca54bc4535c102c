import { MAX_MESSAGE_BYTES } from '../avro/codec.js';
import type { OutgoingMessage } from '../handoff/handoff.js';
import { batchesOf, confirm } from './kafka-handoff.js';

describe('batches', () => {
  const message = (topic: string, bytes: number): OutgoingMessage => {
    const value = Buffer.alloc(bytes);
    return { id: 'id', topic, key: 'k', headers: { h: 'x' }, value, createdAt: new Date() };
  };

  it('are what a broker takes at once, by topic and in order', () => {
    const messages = [message('a', 600_000), message('b', 10), message('a', 600_000), message('a', 400_000)];
    messages.push(message('a', MAX_MESSAGE_BYTES), message('b', 10), message('a', 1));
    expect(batchesOf(messages)).toEqual(
      new Map([
        ['a', [[0], [2, 3], [4], [6]]],
        ['b', [[1, 5]]],
      ]),
    );
  });
});

describe('what Kafka confirmed', () => {
  it('is only what its answer names', () => {
    const stored = [
      { topicName: 't', partition: 0, errorCode: 0 },
      { topicName: 't', partition: 1, errorCode: 7 },
    ];
    const wanted = [0, 1, 2, undefined].map((partition) => ({ topic: 't', partition }));
    expect(confirm(wanted, stored).map((delivery) => delivery === 'delivered')).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
});
