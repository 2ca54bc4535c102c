import type { Subject } from '#libs/auth';
import type { MessageBodies, MessageKind } from '#libs/contracts';

/**
 * On whose behalf a message is sent: the relay exchanges its token for one of the recipient when it publishes. Without a token
 * the message carries one of the service itself, tenant `system`.
 */
export type MessageSubject = Subject;

/** A row of the outbox `<schema>.messages`, before it has a place in the order of publishing. */
export interface OutboxMessage<K extends MessageKind = MessageKind> {
  /** UUID, the message's `ce_id`; by default a new one. */
  id?: string;
  /** Topic (Kafka) or queue (BullMQ). */
  destination: string;
  /** The session's id: messages of one destination and key are delivered in the order of the outbox. */
  key: string;
  kind: K;
  body: MessageBodies[K];
  subject: MessageSubject;
  traceparent: string | null;
}

/** Where a message goes. */
export interface PlacedMessage {
  id: string;
  topic: string;
  createdAt: Date;
}

/** A message of which the transport is asked what became of it. */
export interface AskedMessage extends PlacedMessage {
  /** It was: what the transport knows by its id is this message, not an older one that said the same. */
  underWay: boolean;
}

/** A message that is ready for the wire. */
export interface OutgoingMessage extends PlacedMessage {
  key: string;
  headers: Record<string, string>;
  /** Avro in Confluent's wire format. */
  value: Buffer;
}

/**
 * What became of one message: the recipient's side has it for good; or it is under way and has to be offered again later (the
 * outbox row stays), which is harmless; or nobody took it from its queue for as long as topics keep messages; or the reason why it could not be handed over.
 */
export type Delivery = 'delivered' | 'under-way' | 'expired' | Error;

/** Injection token of the `Handoff` in use. */
export const HANDOFF = Symbol('Handoff');

/**
 * Port of the hand-off between services; adapters are Kafka and BullMQ. Only the relay calls it: everything else writes to
 * the outbox.
 */
export interface Handoff {
  /** Milliseconds for which a relay takes messages; longer than `publish` can last. */
  readonly holdMs: number;
  /** True when a message may be offered only after the ones before it (same topic and key) were delivered. */
  readonly oneAtATime: boolean;
  /** Calls back when messages that are under way were delivered; the news may be lost. */
  onDelivered?(listener: (id: string) => void): void;
  /** Makes sure that the topics exist. @throws RetryableError `handoff-unavailable` */
  prepare(topics: readonly string[]): Promise<void>;
  /** For readiness: rejects while the transport does not answer. */
  check(): Promise<void>;
  /**
   * What became of messages that may have been offered before, found without what sending them takes: null for what has to be offered
   * (again). Never throws. A transport that knows at once has none.
   */
  lookUp?(messages: readonly AskedMessage[]): Promise<Array<Delivery | null>>;
  /**
   * Offers up to a few hundred messages, in their order per topic and key; never throws. The same message may be offered any number of
   * times: recipients know it by its id.
   */
  publish(messages: readonly OutgoingMessage[]): Promise<Delivery[]>;
  close(): Promise<void>;
}

/** A message as it came off the wire. */
export interface RawMessage {
  /**
   * UUID: `ce_id`, or for a sender that gave none (or another kind of id) one derived from `ce_source` and `ce_id`, or from `place`. The same message
   * has the same id however often it comes, but anybody can claim any id: inboxes go by `inboxId`.
   */
  id: string;
  /** Where it stands, as text: topic, partition, offset and the broker's time, or queue and job. Nobody can claim the place of another message. */
  place: string;
  topic: string;
  /** Zero with BullMQ. */
  partition: number;
  /** Null with BullMQ. */
  offset: string | null;
  key: string;
  headers: Record<string, string>;
  value: Buffer;
  /** When the broker took it: the moment as of which its token has to be valid. */
  appendedAt: Date;
  traceparent: string | null;
}

/** A message whose body could be read; `body` fits the Avro record `kind`, and nothing more is known of it. */
export type IncomingMessage = {
  [K in MessageKind]: Omit<RawMessage, 'value'> & { kind: K; body: MessageBodies[K] };
}[MessageKind];

/**
 * What a consumer does with a message (`@EventPattern(topic)`, argument `@Payload() message`): one short transaction that
 * writes the inbox row together with what follows from the message, never the work itself. Messages of one key come one
 * after the other, those of different keys at the same time; every message may come more than once. When it resolves, the message is done. A
 * `RetryableError` keeps it: it is tried again, with growing pauses, until it succeeds. Whatever else it throws makes the message poison.
 */
export type MessageHandler = (message: IncomingMessage) => Promise<void>;

/** A message that nobody can handle: `message` is set when its body could be read. */
export interface PoisonMessage {
  raw: RawMessage;
  message: IncomingMessage | null;
  /** Stable code, e.g. `avro-invalid`, `unknown-schema`, `message-too-large`, `validation`, `unauthenticated`, `handler-failed`. */
  code: string;
  cause: unknown;
}

/**
 * Writes the dead letter (`deadLetterOf`) and the inbox row in one transaction; the partition moves on when it resolves. A `RetryableError`
 * is tried again; anything else it throws ends the process, because a message must never vanish.
 */
export type PoisonHandler = (poison: PoisonMessage) => Promise<void>;
