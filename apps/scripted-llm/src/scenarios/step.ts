import type { ChatRequest } from '../chat/chat-request.js';
import { toolCallId, type Draft } from '../chat/completion.js';
import type { StepDto } from './scenario.dto.js';

/** Which fault hits this attempt (from 1) of a step. */
export function faultOf(step: StepDto, attempt: number): 'error' | 'hang' | 'cut' | null {
  if (step.error && attempt <= (step.error.times ?? Infinity)) return 'error';
  if (attempt > (step.times ?? Infinity)) return null;
  if (step.hang) return 'hang';
  return step.cut_after === undefined ? null : 'cut';
}

/** What the step says on this attempt. */
export function draftOf(step: StepDto, attempt: number, request: ChatRequest): Draft {
  const fill = (text: string) => (step.vary ? text.replaceAll('{{attempt}}', String(attempt)) : text);
  return {
    content: step.content === undefined ? null : fill(step.content),
    toolCalls: (step.tool_calls ?? []).map((call, index) => ({
      id: call.id ?? toolCallId(request, index, step.vary ? attempt : 0),
      name: call.name,
      arguments: fill(typeof call.arguments === 'string' ? call.arguments : JSON.stringify(call.arguments)),
    })),
    finishReason: step.finish_reason,
    usage: step.usage,
  };
}
