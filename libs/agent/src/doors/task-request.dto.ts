import { IsInt, IsOptional, Matches, Max, Min } from 'class-validator';
import {
  IDEMPOTENCY_KEY,
  MAX_DEADLINE_MS,
  MAX_SEQUENCE,
  SubmitTaskDto,
  TASK_ID,
  TASK_LIMITS,
} from '#libs/contracts';

/** The longest that `SubmitTask` waits for an end, in milliseconds. */
const MAX_WAIT_MS = 60_000;

/** A UUID of any version, as tasks have them. */
export const IsTaskId = () => Matches(TASK_ID, { message: 'task_id must be a UUID' });

/** `TaskRequest` of the gRPC API. */
export class TaskRequestDto extends SubmitTaskDto {
  @IsOptional()
  @IsTaskId()
  task_id?: string;

  @IsOptional()
  @Matches(IDEMPOTENCY_KEY, {
    message: `idempotency_key must be 1 to ${TASK_LIMITS.idempotencyKeyChars} visible ASCII characters`,
  })
  idempotency_key?: string;

  @IsOptional()
  @IsInt()
  @Min(0)
  @Max(MAX_SEQUENCE)
  after_sequence?: number;

  @IsOptional()
  @IsInt()
  @Min(0)
  @Max(MAX_WAIT_MS)
  wait_ms?: number;

  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(MAX_DEADLINE_MS)
  deadline_ms?: number;
}

/** `StreamSteps` of a task that exists. */
export class AttachDto {
  @IsTaskId()
  task_id: string;

  @IsOptional()
  @IsInt()
  @Min(0)
  @Max(MAX_SEQUENCE)
  after_sequence?: number;
}

/** `GetTaskRequest`, `CancelTaskRequest`. */
export class TaskIdDto {
  @IsTaskId()
  task_id: string;
}
