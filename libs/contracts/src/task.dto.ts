import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import {
  IsIn,
  IsInt,
  IsOptional,
  IsString,
  Matches,
  Max,
  MaxLength,
  Min,
  Validate,
  ValidatorConstraint,
  type ValidatorConstraintInterface,
} from 'class-validator';
import { SESSION_ID, TASK_LIMITS, TASK_STATUSES, type TaskStatus } from './task.js';

const { maxSteps, tokenBudget } = TASK_LIMITS;

const IsSessionId = () =>
  Matches(SESSION_ID, {
    message: `session_id must be 1 to ${TASK_LIMITS.sessionIdChars} letters, digits or . _ @ -`,
  });

@ValidatorConstraint({ name: 'metadata' })
class IsMetadata implements ValidatorConstraintInterface {
  validate(value: unknown): boolean {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    const entries = Object.entries(value);
    return (
      entries.length <= TASK_LIMITS.metadataKeys &&
      entries.every(
        ([key, text]) =>
          key.length > 0 &&
          key.length <= TASK_LIMITS.metadataKeyChars &&
          typeof text === 'string' &&
          text.length <= TASK_LIMITS.metadataValueChars,
      )
    );
  }

  defaultMessage(): string {
    const { metadataKeys, metadataKeyChars, metadataValueChars } = TASK_LIMITS;
    return `metadata must be an object of at most ${metadataKeys} strings (keys up to ${metadataKeyChars}, values up to ${metadataValueChars} characters)`;
  }
}

/** A task as a client asks for it: the body of `POST /run` and `POST /tasks`; other doors bring their requests into this form. */
export class SubmitTaskDto {
  @ApiProperty({
    maxLength: TASK_LIMITS.promptChars,
    example: 'How does Baton survive a crash of its worker?',
  })
  @IsString()
  @MaxLength(TASK_LIMITS.promptChars)
  @Matches(/\S/, { message: 'prompt must not be blank' })
  prompt: string;

  @ApiPropertyOptional({
    description: 'Tasks of one session run one after the other, in order',
    maxLength: TASK_LIMITS.sessionIdChars,
  })
  @IsOptional()
  @IsSessionId()
  session_id?: string;

  @ApiPropertyOptional({ type: 'object', additionalProperties: { type: 'string' } })
  @IsOptional()
  @Validate(IsMetadata)
  metadata?: Record<string, string>;

  @ApiPropertyOptional({ minimum: maxSteps.min, maximum: maxSteps.max })
  @IsOptional()
  @IsInt()
  @Min(maxSteps.min)
  @Max(maxSteps.max)
  max_steps?: number;

  @ApiPropertyOptional({ minimum: tokenBudget.min, maximum: tokenBudget.max })
  @IsOptional()
  @IsInt()
  @Min(tokenBudget.min)
  @Max(tokenBudget.max)
  token_budget?: number;
}

/** Which tasks to list: the query of `GET /tasks`. */
export class ListTasksDto {
  @ApiPropertyOptional({ enum: TASK_STATUSES })
  @IsOptional()
  @IsIn(TASK_STATUSES)
  status?: TaskStatus;

  @ApiPropertyOptional()
  @IsOptional()
  @IsSessionId()
  session_id?: string;

  @ApiPropertyOptional({ minimum: 1, maximum: 100, default: 20 })
  @IsOptional()
  @Type(() => Number)
  @IsInt()
  @Min(1)
  @Max(100)
  limit?: number;

  @ApiPropertyOptional({ description: '`next_cursor` of the previous page' })
  @IsOptional()
  @Matches(/^[1-9]\d{0,17}$/, { message: 'cursor must be the next_cursor of a page' })
  cursor?: string;
}
