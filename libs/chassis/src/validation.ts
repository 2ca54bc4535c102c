import { ValidationPipe, type ValidationError } from '@nestjs/common';
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
    return super.transform(value, metadata);
  }
}

function flatten(error: ValidationError, parent: string): FieldError[] {
  const field = parent ? `${parent}.${error.property}` : error.property;
  const own = Object.values(error.constraints ?? {}).map((message) => ({ field, message }));
  return [...own, ...(error.children ?? []).flatMap((child) => flatten(child, field))];
}
