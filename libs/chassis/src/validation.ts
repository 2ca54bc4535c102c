import { MalformedMessage } from './grpc/received-message.js';
import { ValidationPipe, type PipeTransform, type Type, type ValidationError } from '@nestjs/common';
import { TerminalError, validationError, type FieldError } from '#libs/contracts';

/** Validates DTOs (class-validator): unknown fields are refused, every wrong field is named, nothing is coerced. */
export class RequestValidationPipe extends ValidationPipe {
  constructor() {
    super({
      transform: true,
      whitelist: true,
      forbidNonWhitelisted: true,
      exceptionFactory: (errors) => validationError(errors.flatMap((error) => flatten(error, ''))),
    });
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

const pipe = new RequestValidationPipe();

/** `value` as a valid `dto`, as the global pipe makes it of a body. @throws TerminalError `validation` (400) */
export async function validated<T extends object>(dto: Type<T>, value: object): Promise<T> {
  return (await pipe.transform(value, { type: 'body', metatype: dto })) as T;
}

function flatten(error: ValidationError, parent: string): FieldError[] {
  const field = parent ? `${parent}.${error.property}` : error.property;
  const own = Object.values(error.constraints ?? {}).map((message) => ({ field, message }));
  return [...own, ...(error.children ?? []).flatMap((child) => flatten(child, field))];
}

/**
 * For a body that carries somebody's JSON, such as a tool's arguments: `dto` is validated as ever, but the objects and arrays in its
 * `opaque` fields are handed through as they came. Copying them, as the global pipe does, takes seconds for one of 80,000 keys.
 * The parameter that it decorates must be declared by an interface, or the global pipe copies first.
 */
export class OpaqueFieldsPipe implements PipeTransform {
  private readonly pipe = new RequestValidationPipe();

  constructor(
    private readonly dto: Type<object>,
    private readonly opaque: string[],
  ) {}

  async transform(body: Record<string, unknown>): Promise<unknown> {
    const outline = { ...body };
    for (const field of this.opaque) outline[field] = outlineOf(body[field]);
    const valid = (await this.pipe.transform(outline, { type: 'body', metatype: this.dto })) as object;
    return Object.assign(valid, Object.fromEntries(this.opaque.map((field) => [field, body[field]])));
  }
}

function outlineOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Array.isArray(value) ? [] : {};
}
