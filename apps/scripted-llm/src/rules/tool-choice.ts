import type { JsonSchema } from '#libs/contracts';
import type { ChatRequest, Tool } from '../chat/chat-request.js';
import { keywordsOf, stem, stemsOf } from './words.js';

export interface PlannedCall {
  name: string;
  arguments: Record<string, unknown>;
}

/** Search words: as they are, and with words that stand for them, for tools that search by meaning. */
export interface Query {
  plain: string;
  wide: string;
}

const MAX_PARALLEL = 3;
const BY_MEANING = /\b(vector|semantic|meaning|similar|embedding)/i;
const stems = (words: string) => new Set(words.split(' ').map(stem));
const LOOKUP = stems(
  'search find look lookup retrieve query knowledge document passage web index read fetch list',
);
const ACTING = stems(
  'send write create delete remove update insert publish post execute exec commit deploy pay book',
);
const SEARCH_TEXT = stems('query q question search text keyword term topic phrase');
/** A parameter that wants a language of its own is not filled with words. */
const FORMAL = stems(
  'sql regex code script javascript python json path glob xpath url uri id identifier cron',
);

/**
 * Picks the tools that can help with a question from what they say of themselves: those that look something up, and
 * those whose description shares words with the question. A tool that changes something is left alone unless the
 * question names that very action, and a tool whose required parameters cannot be filled is never called.
 */
export function chooseTools(request: ChatRequest, query: Query): PlannedCall[] {
  const { question, tools, toolChoice } = request;
  if (toolChoice === 'none') return [];
  if (typeof toolChoice === 'object') {
    const forced = tools.find((tool) => tool.name === toolChoice.name)!;
    return [{ name: forced.name, arguments: fillArguments(forced, query, question) ?? {} }];
  }
  const asked = new Set(stemsOf(question));
  const planned = tools
    .map((tool) => ({ tool, args: fillArguments(tool, query, question), score: scoreOf(tool, asked) }))
    .filter(({ args, score }) => args !== null && (score >= 2 || toolChoice === 'required'))
    .sort((a, b) => b.score - a.score)
    .slice(0, toolChoice === 'required' ? 1 : MAX_PARALLEL);
  return planned.map(({ tool, args }) => ({ name: tool.name, arguments: args! }));
}

function scoreOf(tool: Tool, asked: ReadonlySet<string>): number {
  const name = tool.name.split(/[_-]+|(?<=[a-z])(?=[A-Z])/).map((part) => stem(part.toLowerCase()));
  const description = stemsOf(tool.description);
  const actions = [...name, ...description.slice(0, 1)].filter((word) => ACTING.has(word));
  if (actions.some((action) => !asked.has(action))) return 0;
  const words = new Set([...name, ...description]);
  const overlap = [...asked].filter((word) => words.has(word)).length;
  const looksUp = [...words].some((word) => LOOKUP.has(word));
  return overlap + (looksUp ? 2 : 0);
}

/** Arguments for every required parameter; null when one of them cannot be known. */
function fillArguments(
  { name: toolName, description, parameters }: Tool,
  { plain, wide }: Query,
  question: string,
): Record<string, unknown> | null {
  const query = BY_MEANING.test(`${toolName.replaceAll('_', ' ')} ${description}`) ? wide : plain;
  const properties = (parameters['properties'] ?? {}) as Record<string, JsonSchema>;
  const required = Array.isArray(parameters['required']) ? (parameters['required'] as string[]) : [];
  const texts = required.filter((name) => properties[name]?.['type'] === 'string');
  const args: Record<string, unknown> = {};
  for (const name of required) {
    const value = fillParameter(name, properties[name] ?? {}, query, question, texts.length === 1);
    if (value === undefined) return null;
    args[name] = value;
  }
  return args;
}

function fillParameter(
  name: string,
  schema: JsonSchema,
  query: string,
  question: string,
  onlyText: boolean,
): unknown {
  if (schema['const'] !== undefined) return schema['const'];
  if (schema['default'] !== undefined) return schema['default'];
  const choices = schema['enum'];
  if (Array.isArray(choices)) {
    const words = new Set(question.toLowerCase().split(/[^\w-]+/));
    return choices.find((choice) => words.has(String(choice).toLowerCase())) ?? choices[0];
  }
  switch (schema['type']) {
    case 'string':
      return fillText(name, schema, query, question, onlyText);
    case 'boolean':
      return false;
    case 'integer':
    case 'number':
      return schema['minimum'] ?? (schema['examples'] as unknown[] | undefined)?.[0];
    case 'array':
      return SEARCH_TEXT.has(stem(name)) ? keywordsOf(question) : undefined;
    default:
      return undefined;
  }
}

function fillText(
  name: string,
  schema: JsonSchema,
  query: string,
  question: string,
  onlyText: boolean,
): unknown {
  if (schema['format'] === 'email') return /[\w.+-]+@[\w-]+\.[\w.-]*\w/.exec(question)?.[0];
  if (schema['format'] === 'uri') return /https?:\/\/[^\s)>\]"']+/.exec(question)?.[0];
  if (schema['format'] !== undefined || schema['pattern'] !== undefined) return undefined;
  const nameWords = stemsOf(name.replaceAll('_', ' '));
  const description = typeof schema['description'] === 'string' ? stemsOf(schema['description']) : [];
  const isSearch = [...nameWords, ...description].some((word) => SEARCH_TEXT.has(word));
  const isFormal =
    nameWords.some((word) => FORMAL.has(word)) || (!isSearch && description.some((word) => FORMAL.has(word)));
  if (isFormal || !(isSearch || onlyText)) return undefined;
  const max = schema['maxLength'];
  return typeof max === 'number' ? query.slice(0, max) : query;
}
