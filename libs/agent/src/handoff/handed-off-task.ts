import { IsBoolean, IsInt, IsOptional, Matches, Min } from 'class-validator';
import { validated } from '#libs/chassis';
import {
  parseTaskId,
  SubmitTaskDto,
  TerminalError,
  type AgentTask,
  type AgentTaskEvent,
} from '#libs/contracts';
import type { Principal } from '#libs/auth';
import type { AgentDefinition } from '../definition.js';
import { agentTaskOf } from '../doors/agent-task.js';
import { IsTaskId } from '../doors/task-request.dto.js';

/** A caller's name as part of a topic's name. */
const CALLER = /^[a-zA-Z0-9._-]{1,128}$/;

/** An `AgentTaskEvent` in the words of the other doors. */
class HandedOffTaskDto extends SubmitTaskDto {
  @IsTaskId()
  task_id: string;

  @IsOptional()
  @Matches(CALLER, { message: 'reply_to must be the name of a caller' })
  reply_to?: string;

  @IsBoolean()
  stream_steps: boolean;

  @IsInt()
  @Min(0)
  retry_count: number;

  @IsOptional()
  @IsInt()
  deadline?: number;
}

/**
 * The event as the `AgentTask` that the other doors make of the same request.
 * @param now milliseconds since 1970
 * @throws TerminalError 400 `validation` that names every wrong field, 400 `malformed-request` for characters that cannot be stored
 */
export async function taskOfEvent(
  event: AgentTaskEvent,
  caller: Principal,
  definition: AgentDefinition,
  traceparent: string | null,
  now: number = Date.now(),
): Promise<AgentTask & { id: string }> {
  if ([event.prompt, ...Object.entries(event.context).flat()].some((text) => text.includes('\0')))
    throw new TerminalError('malformed-request', 'The message contains NUL characters', { status: 400 });
  const request = await validated(HandedOffTaskDto, wordsOf(event));
  const extras = {
    // What is too late already ends as `deadline_exceeded`, like everything else that is late.
    timeoutMs: event.deadline === null ? null : Math.max(0, event.deadline - now),
    replyTo: event.reply_to,
    streamSteps: event.stream_steps,
    retryCount: event.retry_count,
    traceparent,
  };
  return { ...agentTaskOf(request, caller, definition, extras), id: parseTaskId(request.task_id) };
}

/** Avro's null is the other doors' absent field. */
function wordsOf(event: AgentTaskEvent): Record<string, unknown> {
  const { task_id, prompt, session_id, context: metadata, max_steps, token_budget } = event;
  const { deadline, reply_to, stream_steps, retry_count } = event;
  const words = {
    task_id,
    prompt,
    session_id,
    metadata,
    max_steps,
    token_budget,
    deadline,
    reply_to,
    stream_steps,
    retry_count,
  };
  return Object.fromEntries(Object.entries(words).filter(([, value]) => value !== null));
}
