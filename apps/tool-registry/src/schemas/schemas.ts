import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { ValidateFunction } from 'ajv/dist/2020.js';
import { LRUCache } from 'lru-cache';
import { TerminalError, type FieldError, type JsonSchema, type ToolDefinition } from '#libs/contracts';
import { compileSchema, fieldErrors } from './compile-schema.js';
import { isPlainSchema } from './plain-schema.js';
import { SchemaThread } from './schema-thread.js';

const MAX_COMPILED = 2000;

/**
 * The schemas of tools: vetted at registration, applied at every call. What could take long is compiled and checked on a thread of
 * its own; a plain schema is checked here, which costs less than waking the thread.
 */
@Injectable()
export class Schemas implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly calls = new SchemaThread();
  /** Apart, so that a hostile registration delays no call. */
  private readonly registrations = new SchemaThread();
  /** Validators of plain schemas; null: the schema is for the thread. */
  private readonly plain = new LRUCache<string, { validate: ValidateFunction | null }>({ max: MAX_COMPILED });

  onApplicationBootstrap(): void {
    this.calls.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.calls.close(), this.registrations.close()]);
  }

  /** @throws TerminalError 422 `tool-schema-rejected` naming the schema and the reason. */
  async vet(definition: ToolDefinition): Promise<void> {
    for (const field of ['parameters', 'returns'] as const) {
      const answer = await this.registrations.vet(definition[field]);
      if ('rejected' in answer) throw schemaRejected(field, answer.rejected);
    }
  }

  /** What is wrong with a call's arguments, or with its result; empty when nothing is. `hash` identifies the definition. */
  async check(
    hash: string,
    definition: ToolDefinition,
    part: 'parameters' | 'returns',
    value: unknown,
  ): Promise<FieldError[]> {
    const root = part === 'parameters' ? 'arguments' : 'result';
    const key = `${hash}/${part}`;
    const validate = this.plainValidator(key, definition[part]);
    if (validate) return validate(value) ? [] : fieldErrors(validate.errors ?? [], root);
    const answer = await this.calls.check(key, definition[part], value, root);
    return 'rejected' in answer ? [{ field: root, message: answer.rejected }] : answer.errors;
  }

  private plainValidator(key: string, schema: JsonSchema): ValidateFunction | null {
    let known = this.plain.get(key);
    if (!known)
      this.plain.set(key, (known = { validate: isPlainSchema(schema) ? compileSchema(schema) : null }));
    return known.validate;
  }
}

export function schemaRejected(field: string, reason: string): TerminalError {
  return new TerminalError('tool-schema-rejected', `The schema is not taken: ${reason}`, {
    status: 422,
    errors: [{ field, message: reason }],
  });
}
