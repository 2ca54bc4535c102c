import { COMPATIBILITY, SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import type { Schema, Type } from 'avsc';
import { LRUCache } from 'lru-cache';
import { messageOf, RetryableError, TerminalError, type MessageKind } from '#libs/contracts';
import { incompatibilities } from './compatibility.js';
import { messageSchemas, type MessageSchema } from './schemas.js';

/** Levels under which a new version can read what older ones wrote. */
const GOOD_LEVELS = [
  COMPATIBILITY.BACKWARD,
  COMPATIBILITY.BACKWARD_TRANSITIVE,
  COMPATIBILITY.FULL,
  COMPATIBILITY.FULL_TRANSITIVE,
];
/** Registries count in 32 bits, with sign. */
const MAX_ID = 0x7fff_ffff;
/** An id that the registry does not know may have been registered a moment ago at another of its nodes. */
const UNKNOWN_FOR_MS = 5000;

/**
 * A Confluent-compatible schema registry: subjects are the records' names, compatibility is BACKWARD. What was fetched once stays known, so
 * that a registry that goes away later stops nothing but the first sight of new schemas.
 */
export class RegistrySchemas {
  private readonly registry: SchemaRegistry;
  private readonly ids = new Map<MessageKind, number>();
  private readonly known = new Map<number, Type>();
  private readonly unknown = new LRUCache<number, true>({ max: 1000, ttl: UNKNOWN_FOR_MS });

  private readonly url: string;

  constructor(url: string) {
    this.url = url.replace(/\/$/, '');
    this.registry = new SchemaRegistry({ host: this.url, retry: { retries: 1 } });
  }

  /** Id under which this version writes. @throws RetryableError `schema-registry-unavailable` until it is registered */
  idOf(kind: MessageKind): number {
    const id = this.ids.get(kind);
    if (id === undefined) throw away('the schemas are not registered yet');
    return id;
  }

  /**
   * Registers the repository's schemas; does nothing for those that are.
   * @throws TerminalError `schema-incompatible` naming schema and fields
   * @throws RetryableError `schema-registry-unavailable`
   */
  async register(): Promise<void> {
    for (const schema of messageSchemas().values())
      if (!this.ids.has(schema.kind)) {
        const id = await this.registerOne(schema);
        this.ids.set(schema.kind, id);
        this.known.set(id, schema.type);
      }
  }

  /** The schema that a message was written with; null when the registry does not know the id, or knows no Avro by it. @throws RetryableError */
  async find(id: number): Promise<Type | null> {
    if (id > MAX_ID) return null;
    const known = this.known.get(id);
    if (known) return known;
    if (this.unknown.has(id)) return null;
    try {
      const type = (await this.registry.getSchema(id)) as Type;
      this.known.set(id, type);
      return type;
    } catch (error) {
      if (isAway(statusOf(error))) throw away(messageOf(error), error);
      this.unknown.set(id, true);
      return null;
    }
  }

  private async registerOne(schema: MessageSchema): Promise<number> {
    const text = JSON.stringify(schema.json);
    let level = '';
    for (const compatibility of GOOD_LEVELS)
      try {
        const options = { subject: schema.name, compatibility };
        return (await this.registry.register({ type: SchemaType.AVRO, schema: text }, options)).id;
      } catch (error) {
        if (isRefused(error)) throw await this.incompatible(schema, error);
        const mismatch = /^Compatibility does not match the configuration \(.* != (.*)\)/.exec(
          messageOf(error),
        );
        if (!mismatch) throw away(messageOf(error), error);
        level = mismatch[1]!;
      }
    // Another service set it between two looks.
    if (GOOD_LEVELS.some((good) => good === level)) throw away(`the level of ${schema.name} was just set`);
    if (level !== 'NONE')
      throw new TerminalError(
        'schema-incompatible',
        `The registry must check ${schema.name} for backward compatibility; its level is ${level}`,
      );
    // A client registers first and sets the level after it: another one may be in between, or have died there.
    await this.checkBackward(schema.name);
    throw away(`${schema.name} was not checked for compatibility; it is now`);
  }

  private async checkBackward(subject: string): Promise<void> {
    try {
      await fetch(`${this.url}/config/${subject}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
        body: JSON.stringify({ compatibility: COMPATIBILITY.BACKWARD }),
        signal: AbortSignal.timeout(5000),
      });
    } catch (error) {
      throw away(messageOf(error), error);
    }
  }

  private async incompatible(schema: MessageSchema, cause: unknown): Promise<TerminalError> {
    const fields = await this.registry
      .getLatestSchemaId(schema.name)
      .then((id) => this.registry.getSchema(id))
      .then((latest) =>
        incompatibilities(schema.json, (latest as Type).schema({ exportAttrs: true }) as Schema),
      )
      .catch(() => []);
    const reason = fields.length > 0 ? fields.join('; ') : messageOf(cause);
    return new TerminalError(
      'schema-incompatible',
      `Avro schema ${schema.kind} cannot read what the registered version wrote: ${reason}`,
      { cause },
    );
  }
}

function away(reason: string, cause?: unknown): RetryableError {
  return new RetryableError(
    'schema-registry-unavailable',
    `The schema registry is not available: ${reason}`,
    {
      retryAfterMs: 1000,
      cause,
    },
  );
}

/** The schema was refused; a conflict about the level alone means that another service was setting it at the same moment. */
function isRefused(error: unknown): boolean {
  const { status, url = '' } = error as { status?: number; url?: string };
  return (status === 409 || status === 422) && !url.includes('/config/');
}

/**
 * A registry that answers otherwise has said what it knows, however often it is asked. Without a status there was an answer, but no schema in it;
 * without an answer the client makes up a 400.
 */
function isAway(status: number | undefined): boolean {
  return status !== undefined && ([400, 401, 403, 408, 429].includes(status) || status >= 500);
}

function statusOf(error: unknown): number | undefined {
  return (error as { status?: number } | null)?.status;
}
