import type { ChatRequest } from '../chat/chat-request.js';
import { toolCallId, type Draft } from '../chat/completion.js';
import { countTokens } from '../chat/tokens.js';
import { ANSWER_SENTENCES, composeAnswer } from './answer.js';
import { chooseTools, type PlannedCall, type Query } from './tool-choice.js';
import { readResults, type ToolResult } from './tool-results.js';
import { keywordsOf, widened } from './words.js';

/**
 * The model that answers without a script: looks the question up with the tools that are offered, once more in other
 * words when nothing was found, and answers with sentences of the results. The same request gets the same answer.
 */
export function answerByRules(request: ChatRequest): Draft {
  const results = readResults(request.sinceQuestion);
  const calls = nextCalls(request, results);
  if (calls.length > 0) return callTools(request, calls);
  const findings = results.flatMap((result) => result.findings);
  const answer = fittingAnswer(request, (sentences) => composeAnswer(request.question, findings, sentences));
  const note = failureNote(results);
  if (answer !== null) return { content: note ? `${answer}\n\n${note}` : answer, toolCalls: [] };
  return { content: [nothingFound(request, results), note].filter(Boolean).join(' '), toolCalls: [] };
}

function nextCalls(request: ChatRequest, results: ToolResult[]): PlannedCall[] {
  const keywords = keywordsOf(request.question);
  if (request.step === 0) return chooseTools(request, firstQuery(request, keywords));
  const isEmpty = results.every(({ findings }) => findings.length === 0);
  if (request.step > 1 || !isEmpty) return [];
  const failed = new Set(results.filter(({ failure }) => failure !== null).map(({ tool }) => tool));
  const working = request.tools.filter((tool) => !failed.has(tool.name));
  // The second time any of the words will do, or a word that stands for one of them.
  const either = widened(keywords).join(' OR ');
  const toolChoice = typeof request.toolChoice === 'object' ? 'auto' : request.toolChoice;
  return chooseTools({ ...request, tools: working, toolChoice }, { plain: either, wide: either });
}

function firstQuery({ question }: ChatRequest, keywords: string[]): Query {
  if (keywords.length === 0) return { plain: question.slice(0, 500), wide: question.slice(0, 500) };
  return { plain: keywords.join(' '), wide: widened(keywords).join(' ') };
}

function callTools(request: ChatRequest, calls: PlannedCall[]): Draft {
  return {
    content: null,
    toolCalls: calls.map((call, index) => ({
      id: toolCallId(request, index),
      name: call.name,
      arguments: JSON.stringify(call.arguments),
    })),
  };
}

/** As many sentences as the token limit allows, the fewest when it allows none. */
function fittingAnswer(
  { maxTokens }: ChatRequest,
  compose: (sentences: number) => string | null,
): string | null {
  for (let sentences = ANSWER_SENTENCES.max; ; sentences -= 1) {
    const answer = compose(sentences);
    if (answer === null || maxTokens === null || sentences === 1 || countTokens(answer) <= maxTokens)
      return answer;
  }
}

function failureNote(results: ToolResult[]): string {
  const reasons = new Map<string, string>();
  for (const { tool, failure } of results) if (failure !== null) reasons.set(tool, failure);
  if (reasons.size === 0) return '';
  return `Not available: ${[...reasons].map(([tool, failure]) => `${tool} (${failure})`).join(', ')}.`;
}

function nothingFound({ question, tools }: ChatRequest, results: ToolResult[]): string {
  const subject = keywordsOf(question).join(', ') || 'this';
  if (results.length > 0) return `I found nothing about: ${subject}.`;
  return tools.length === 0
    ? `I have no tools to look anything up, and I know nothing by myself about: ${subject}.`
    : `None of my tools can look this up, and I know nothing by myself about: ${subject}.`;
}
