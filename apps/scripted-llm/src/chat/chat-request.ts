import type { JsonSchema, ModelToolCall } from '#libs/contracts';
import { invalidRequest } from '../openai-error.js';
import { countTokens } from './tokens.js';

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  /** Of an assistant message. */
  toolCalls: ModelToolCall[];
  /** Of a tool message. */
  toolCallId: string;
}

export interface Tool {
  name: string;
  description: string;
  parameters: JsonSchema;
}

export type ToolChoice = 'auto' | 'none' | 'required' | { name: string };

/** A chat completion request, checked. */
export interface ChatRequest {
  model: string;
  /** The last user message: what the conversation is about, and its name for scenarios. */
  question: string;
  /** What followed the question. */
  sinceQuestion: ChatMessage[];
  /** Assistant messages since the question. */
  step: number;
  tools: Tool[];
  toolChoice: ToolChoice;
  stream: boolean;
  includeUsage: boolean;
  maxTokens: number | null;
  promptTokens: number;
}

type Json = Record<string, unknown>;

/** @throws TerminalError `invalid_request` with what a real API would refuse as well. */
export function parseChatRequest(body: unknown): ChatRequest {
  const json = (body ?? {}) as Json;
  if (typeof json['model'] !== 'string' || json['model'] === '')
    throw invalidRequest('you must provide a model');
  if (json['n'] !== undefined && json['n'] !== 1) throw invalidRequest('n must be 1');
  const messages = parseMessages(json['messages']);
  const tools = parseTools(json['tools']);
  const asked = messages.findLastIndex((message) => message.role === 'user');
  const sinceQuestion = messages.slice(asked + 1);
  return {
    model: json['model'],
    question: messages[asked]?.content ?? '',
    sinceQuestion,
    step: sinceQuestion.filter((message) => message.role === 'assistant').length,
    tools,
    toolChoice: parseToolChoice(json['tool_choice'], tools),
    stream: json['stream'] === true,
    includeUsage: (json['stream_options'] as Json | undefined)?.['include_usage'] === true,
    maxTokens: parseMaxTokens(json['max_completion_tokens'] ?? json['max_tokens']),
    promptTokens: promptTokens(messages, json['tools']),
  };
}

function parseMessages(value: unknown): ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0)
    throw invalidRequest('messages must be a list with at least one');
  const messages = value.map(parseMessage);
  checkToolTurns(messages);
  return messages;
}

function parseMessage(value: unknown, index: number): ChatMessage {
  const json = (value ?? {}) as Json;
  const role = json['role'] === 'developer' ? 'system' : json['role'];
  if (role !== 'system' && role !== 'user' && role !== 'assistant' && role !== 'tool')
    throw invalidRequest(`messages[${index}].role is not valid`);
  const toolCalls = role === 'assistant' ? parseToolCalls(json['tool_calls'], index) : [];
  const content = parseContent(json['content'], index, toolCalls.length > 0);
  const toolCallId = role === 'tool' ? json['tool_call_id'] : '';
  if (typeof toolCallId !== 'string') throw invalidRequest(`messages[${index}].tool_call_id is missing`);
  return { role, content, toolCalls, toolCallId };
}

function parseContent(value: unknown, index: number, mayMiss: boolean): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(textOfPart).join('\n');
  if (mayMiss && (value === null || value === undefined)) return '';
  throw invalidRequest(`messages[${index}].content must be text`);
}

function textOfPart(part: unknown): string {
  const text = (part as Json | null)?.['text'];
  return typeof text === 'string' ? text : '';
}

function parseToolCalls(value: unknown, index: number): ModelToolCall[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length === 0)
    throw invalidRequest(`messages[${index}].tool_calls must be a list with at least one`);
  return value.map((call: Json) => {
    const fn = call?.['function'] as Json | undefined;
    const [id, name, args] = [call?.['id'], fn?.['name'], fn?.['arguments']];
    if (typeof id !== 'string' || typeof name !== 'string' || typeof args !== 'string')
      throw invalidRequest(
        `messages[${index}].tool_calls: id, function.name and function.arguments must be texts`,
      );
    return { id, name, arguments: args };
  });
}

/** Real APIs refuse a call without its result and a result without its call; so an agent's mistake shows here too. */
function checkToolTurns(messages: ChatMessage[]): void {
  let open = new Set<string>();
  for (const [index, message] of messages.entries()) {
    if (message.role === 'tool') {
      if (!open.delete(message.toolCallId))
        throw invalidRequest(
          `messages[${index}]: a tool message must answer a tool call of the message before it`,
        );
      continue;
    }
    if (open.size > 0) throw invalidRequest(`messages[${index}]: tool calls before it have no tool message`);
    if (message.toolCalls.length > 0) open = new Set(message.toolCalls.map((call) => call.id));
  }
  if (open.size > 0) throw invalidRequest('the last tool calls have no tool message');
}

function parseTools(value: unknown): Tool[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length === 0)
    throw invalidRequest('tools must be a list with at least one');
  return value.map((tool: Json, index) => {
    const fn = tool?.['function'] as Json | undefined;
    if (
      tool?.['type'] !== 'function' ||
      typeof fn?.['name'] !== 'string' ||
      !/^[\w-]{1,64}$/.test(fn['name'])
    )
      throw invalidRequest(`tools[${index}] must be a function with a name of letters, digits, _ and -`);
    return {
      name: fn['name'],
      description: typeof fn['description'] === 'string' ? fn['description'] : '',
      parameters: (fn['parameters'] ?? {}) as JsonSchema,
    };
  });
}

function parseToolChoice(value: unknown, tools: Tool[]): ToolChoice {
  if (value === undefined || value === null || value === 'auto') return 'auto';
  if (value === 'none') return 'none';
  if (value === 'required' && tools.length > 0) return 'required';
  const name = ((value as Json)['function'] as Json | undefined)?.['name'];
  const tool = tools.find((candidate) => candidate.name === name);
  if (!tool) throw invalidRequest('tool_choice must be auto, none, required or one of the tools');
  return { name: tool.name };
}

function parseMaxTokens(value: unknown): number | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1)
    throw invalidRequest('max_tokens must be a whole number from 1');
  return value;
}

function promptTokens(messages: ChatMessage[], tools: unknown): number {
  let tokens = tools ? countTokens(JSON.stringify(tools)) : 0;
  for (const { content, toolCalls } of messages) {
    // A message costs some tokens for its role and its borders.
    tokens += 4 + countTokens(content);
    for (const call of toolCalls) tokens += countTokens(call.name) + countTokens(call.arguments);
  }
  return tokens;
}
