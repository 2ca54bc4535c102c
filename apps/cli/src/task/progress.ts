import type { AgentResult, JournalEntry, LiveDelta, LiveRetry, TokenUsage } from '#libs/contracts';
import type { TaskNews } from './follow.js';

/** Writes what a run does, one line per model call and per tool call; on a terminal also what it does right now. */
export class Progress {
  private modelCalls = 0;
  private current = '';
  private toldAttempt = 0;

  constructor(
    private readonly write: (text: string) => void,
    /** Columns of the terminal; null when the output is none. */
    private readonly columns: number | null,
  ) {}

  show(news: TaskNews): void {
    if (news.kind === 'live') this.showNow(news.delta);
    else for (const line of this.linesOf(news.entry)) this.line(line);
  }

  line(text: string): void {
    this.clear();
    this.write(`${text}\n`);
  }

  private linesOf({ body }: JournalEntry): string[] {
    this.toldAttempt = 0;
    if (body.kind === 'model') {
      this.modelCalls += 1;
      const calls = body.tool_calls.map(({ name }) => name).join(', ');
      const next = calls ? ` → ${calls}` : body.finish_reason === 'stop' ? '' : ` (${body.finish_reason})`;
      return [
        `  model ${this.modelCalls}  ${body.model}  ${seconds(body.duration_ms)}  ${total(body.usage)} tokens${next}`,
      ];
    }
    if (body.kind === 'tools')
      return body.results.map(({ name, duration_ms, outcome }) => {
        const state = outcome.ok ? `ok${outcome.truncated ? ' (cut)' : ''}` : `failed: ${outcome.code}`;
        return `  tool     ${name}  ${seconds(duration_ms)}  ${state}`;
      });
    return [];
  }

  private showNow(delta: LiveDelta): void {
    if (this.columns === null) return this.tellRetry(delta);
    if (delta.kind === 'retry') this.current = retryLine(delta);
    else if (delta.kind === 'delta') this.current += delta.text.replace(/\s+/g, ' ');
    else if (delta.kind === 'model_started') this.current = '  model …  ';
    else this.current = `  tool …   ${delta.text}`;
    const visible =
      this.current.length > this.columns - 1 ? `…${this.current.slice(-(this.columns - 2))}` : this.current;
    // Text of a model must not steer the terminal.
    // oxlint-disable-next-line no-control-regex
    this.write(`\r\u001b[K${visible.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ')}`);
  }

  /** Where no line can be overwritten: one for each attempt that failed. */
  private tellRetry(delta: LiveDelta): void {
    if (delta.kind !== 'retry') return;
    const line = retryLine(delta);
    if (delta.attempt !== this.toldAttempt) this.line(line);
    this.toldAttempt = delta.attempt;
  }

  private clear(): void {
    if (this.current && this.columns !== null) this.write('\r\u001b[K');
    this.current = '';
  }
}

function retryLine({ text, retry_after_ms, attempt, max_attempts, deadline_ms }: LiveRetry): string {
  const of = max_attempts ? ` of ${max_attempts}` : '';
  const again = `trying again in ${Math.ceil(retry_after_ms / 1000)} s`;
  return `  waiting  ${text}; ${again} (attempt ${attempt}${of} failed; gives up in ${roughly(deadline_ms)} at the latest)`;
}

function roughly(milliseconds: number): string {
  const wholeSeconds = Math.ceil(milliseconds / 1000);
  return wholeSeconds < 120 ? `${wholeSeconds} s` : `${Math.round(wholeSeconds / 60)} min`;
}

/** The last line: how it ended and what it took. */
export function closingLine(result: AgentResult, detail: string | null): string {
  const mark = result.status === 'completed' ? '✓' : '✗';
  const error =
    result.error && result.error !== result.status ? ` (${result.error}${detail ? `: ${detail}` : ''})` : '';
  const steps = count(result.steps_used, 'step');
  const calls = count(result.tool_calls, 'tool call');
  return `${mark} ${result.status}${error}: ${steps}, ${calls}, ${result.tokens_used} tokens, ${seconds(result.duration_ms)}`;
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

function total(usage: TokenUsage): number {
  return usage.prompt_tokens + usage.completion_tokens;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 0)} s`;
}
