import { ValidationPipe, type PipeTransform, type Type } from '@nestjs/common';
import { validate, type ValidationError } from 'class-validator';
import { TerminalError, validationError, type BatonError, type FieldError } from '#libs/contracts';
import { MalformedMessage } from './grpc/received-message.js';

const STRICT = { whitelist: true, forbidNonWhitelisted: true, forbidUnknownValues: false } as const;

const refusalOf = (errors: ValidationError[]): BatonError =>
  validationError(errors.flatMap((error) => flatten(error, '')));

/** Validates DTOs (class-validator): unknown fields are refused, every wrong field is named, nothing is coerced. */
export class RequestValidationPipe extends ValidationPipe {
  constructor() {
    super({ transform: true, ...STRICT, exceptionFactory: (errors: ValidationError[]) => refusalOf(errors) });
  }

  override async transform(
    value: unknown,
    metadata: Parameters<ValidationPipe['transform']>[1],
  ): Promise<unknown> {
    if (metadata.type === 'body' && value === undefined)
      throw new TerminalError('malformed-request', 'A JSON body is required', { status: 400 });
    if (value instanceof MalformedMessage) throw value.error;
    return super.transform(value, metadata);
  }
}

/**
 * `value` as a valid `dto`, by the rules of the global pipe. What lies deeper is neither copied nor transformed: a message costs a third of what a
 * body costs. @throws TerminalError `validation` (400)
 */
export async function validated<T extends object>(dto: Type<T>, value: object): Promise<T> {
  if (value instanceof MalformedMessage) throw value.error;
  // They would make it an instance of something else, of which no rules are known.
  const foreign = ['__proto__', 'constructor'].filter((key) => Object.hasOwn(value, key));
  if (foreign.length > 0)
    throw validationError(foreign.map((field) => ({ field, message: `property ${field} should not exist` })));
  const instance = Object.assign(new dto(), value);
  const errors = await validate(instance, STRICT);
  if (errors.length > 0) throw refusalOf(errors);
  return instance;
}

/** One fault for each field: of several rules the one that the DTO names first, its type, explains the others. */
function flatten(error: ValidationError, parent: string): FieldError[] {
  const field = parent ? `${parent}.${error.property}` : error.property;
  // Decorators run from the last to the first.
  const message = Object.values(error.constraints ?? {}).at(-1);
  const own = message === undefined ? [] : [{ field, message }];
  return [...own, ...(error.children ?? []).flatMap((child) => flatten(child, field))];
}

/**
 * For a body that carries somebody's JSON, such as a tool's arguments: `dto` is validated as ever, but the objects and arrays in its
 * `opaque` fields are handed through as they came. Copying them, as the global pipe does, takes seconds for one of 80,000 keys.
 * The parameter that it decorates must be declared by an interface, or the global pipe copies first.
 */
export class OpaqueFieldsPipe implements PipeTransform {
  constructor(
    private readonly dto: Type<object>,
    private readonly opaque: string[],
  ) {}

  async transform(body: Record<string, unknown>): Promise<unknown> {
    const outline = { ...body };
    for (const field of this.opaque) outline[field] = outlineOf(body[field]);
    const valid = await validated(this.dto, outline);
    return Object.assign(valid, Object.fromEntries(this.opaque.map((field) => [field, body[field]])));
  }
}

function outlineOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Array.isArray(value) ? [] : {};
}
