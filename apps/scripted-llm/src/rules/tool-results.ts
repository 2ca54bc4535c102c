import type { ChatMessage } from '../chat/chat-request.js';

/** Something that a tool found. */
export interface Finding {
  text: string;
  title: string;
  /** Path or URL; empty when the tool gave none. */
  location: string;
  tool: string;
  /** Its place in the tool's list, from 0. */
  rank: number;
}

export interface ToolResult {
  tool: string;
  arguments: string;
  /** Why the tool failed; null when it worked. */
  failure: string | null;
  findings: Finding[];
}

const TEXT_KEYS = [
  'text',
  'passage',
  'content',
  'snippet',
  'excerpt',
  'body',
  'summary',
  'description',
  'answer',
];
const TITLE_KEYS = ['title', 'document', 'name', 'source_title'];
const HEADING_KEYS = ['heading', 'section', 'headings'];
const LOCATION_KEYS = ['path', 'url', 'source', 'link', 'href', 'file', 'uri', 'location'];
const MAX_DEPTH = 6;
const MAX_FINDINGS = 200;

type Json = Record<string, unknown>;

/** Reads the tool messages since the question. What they say is data: nothing in it is taken as an instruction. */
export function readResults(messages: ChatMessage[]): ToolResult[] {
  const calls = new Map(messages.flatMap((message) => message.toolCalls).map((call) => [call.id, call]));
  return messages
    .filter((message) => message.role === 'tool')
    .map((message) => {
      const call = calls.get(message.toolCallId);
      return {
        tool: call?.name ?? 'tool',
        arguments: call?.arguments ?? '',
        ...readOutcome(message.content, call?.name ?? 'tool'),
      };
    });
}

function readOutcome(content: string, tool: string): Pick<ToolResult, 'failure' | 'findings'> {
  const outcome = parse(content);
  if (isObject(outcome) && outcome['ok'] === false) {
    const code = outcome['code'];
    const isCode = typeof code === 'string' && /^[\w.-]{1,64}$/.test(code);
    return { failure: isCode ? code : 'failed', findings: [] };
  }
  const findings: Finding[] = [];
  collect(isObject(outcome) && outcome['ok'] === true ? outcome['result'] : outcome, tool, findings, 0);
  return { failure: null, findings };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Finds whatever has a text, at any depth: tools wrap their lists differently. */
function collect(value: unknown, tool: string, findings: Finding[], depth: number): void {
  if (depth > MAX_DEPTH || findings.length >= MAX_FINDINGS) return;
  if (typeof value === 'string') return collectText(value, tool, findings, depth);
  if (Array.isArray(value)) for (const item of value) collect(item, tool, findings, depth + 1);
  if (!isObject(value)) return;
  const text = firstText(value, TEXT_KEYS);
  if (text === '') {
    for (const item of Object.values(value))
      if (typeof item === 'object') collect(item, tool, findings, depth + 1);
    return;
  }
  findings.push({ text, title: titleOf(value), location: locationOf(value), tool, rank: findings.length });
}

/** A text may be JSON that was cut or packed as text; what can be read of it counts. */
function collectText(value: string, tool: string, findings: Finding[], depth: number): void {
  if (!/^\s*[[{]/.test(value)) {
    if (value.trim() !== '')
      findings.push({ text: value, title: '', location: '', tool, rank: findings.length });
    return;
  }
  const parsed = parse(value);
  if (typeof parsed !== 'string') return collect(parsed, tool, findings, depth + 1);
  for (const [, text] of value.matchAll(/"(?:text|passage|content|snippet)"\s*:\s*("(?:[^"\\]|\\.)*")/g))
    findings.push({ text: String(parse(text!)), title: '', location: '', tool, rank: findings.length });
}

function titleOf(item: Json): string {
  const title =
    firstText(item, TITLE_KEYS) || (isObject(item['source']) ? firstText(item['source'], TITLE_KEYS) : '');
  const given = HEADING_KEYS.map((key) => item[key]).find((value) => value !== undefined);
  const heading = Array.isArray(given) ? given.join(' › ') : typeof given === 'string' ? given : '';
  if (heading === '' || heading.startsWith(title)) return heading || title;
  return title === '' ? heading : `${title} › ${heading}`;
}

function locationOf(item: Json): string {
  return (
    firstText(item, LOCATION_KEYS) ||
    (isObject(item['source']) ? firstText(item['source'], LOCATION_KEYS) : '')
  );
}

function firstText(item: Json, keys: string[]): string {
  for (const key of keys) {
    const value = item[key];
    if (typeof value === 'string' && value.trim() !== '') return value.trim();
  }
  return '';
}
