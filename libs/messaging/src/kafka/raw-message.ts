import type { IHeaders, KafkaMessage } from 'kafkajs';
import { messageId, traceparentOf } from '../handoff/envelope.js';
import type { RawMessage } from '../handoff/handoff.js';

const LOG_APPEND_TIME = 1;

/** kafkajs tells the kind of time, but its types do not. */
type StampedMessage = KafkaMessage & { batchContext?: { timestampType?: number } };

/** True when the broker set the message's time, not its sender. */
export const brokerStamped = (message: KafkaMessage): boolean =>
  (message as StampedMessage).batchContext?.timestampType === LOG_APPEND_TIME;

export function rawMessage(topic: string, partition: number, message: KafkaMessage): RawMessage {
  const headers = textHeaders(message.headers);
  // A time that a sender claims must not decide which tokens are valid.
  const appendedAt = brokerStamped(message) ? new Date(Number(message.timestamp)) : new Date();
  // With its time, as a topic that was made anew counts from zero again.
  const place = JSON.stringify([topic, partition, message.offset, message.timestamp]);
  return {
    id: messageId(headers, place),
    place,
    topic,
    partition,
    offset: message.offset,
    key: message.key?.toString() ?? '',
    headers,
    value: message.value ?? Buffer.alloc(0),
    appendedAt,
    traceparent: traceparentOf(headers),
  };
}

/** Of a header that comes twice, the first counts. */
function textHeaders(headers: IHeaders | undefined): Record<string, string> {
  const text: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {})) {
    const first = Array.isArray(value) ? value[0] : value;
    if (first !== undefined) text[name] = first.toString();
  }
  return text;
}
