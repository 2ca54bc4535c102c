import type { ChatCompletionMessageParam, ChatCompletionTool } from 'openai/resources/chat/completions';
import type { ChatMessage, ToolSpec } from './llm.js';

/** Every later call of a run shows a message again: it is translated once. */
const translated = new WeakMap<ChatMessage, ChatCompletionMessageParam>();

export function toOpenAiMessages(messages: ChatMessage[]): ChatCompletionMessageParam[] {
  return messages.map((message) => {
    if (message.role !== 'assistant') return message;
    let param = translated.get(message);
    if (!param) translated.set(message, (param = fromAssistant(message)));
    return param;
  });
}

function fromAssistant({
  content,
  tool_calls: calls,
}: Extract<ChatMessage, { role: 'assistant' }>): ChatCompletionMessageParam {
  if (calls.length === 0) return { role: 'assistant', content: content ?? '' };
  return {
    role: 'assistant',
    content,
    tool_calls: calls.map(({ id, name, arguments: args }) => ({
      id,
      type: 'function',
      function: { name, arguments: args },
    })),
  };
}

export function toOpenAiTools(tools: ToolSpec[]): ChatCompletionTool[] | undefined {
  if (tools.length === 0) return undefined;
  return tools.map((tool) => ({
    type: 'function',
    function: { name: tool.name, description: tool.description, parameters: tool.parameters },
  }));
}
