import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { TerminalError } from '#libs/contracts';
import type { ChatRequest } from '../chat/chat-request.js';
import type { ScenarioDto, StepDto } from './scenario.dto.js';

const MAX_SCENARIOS = 1000;
const MAX_CONVERSATIONS = 100_000;
/** Of a longer question this much is kept to be shown; a hash of the whole identifies it. */
const KEPT_CHARS = 200;
/** A prompt that names its scenario: it never falls to another one, or to the rules. */
const MARK = /\[scenario:([\w.-]{1,128})\]/g;
const markOf = (name: string): string => `[scenario:${name}]`;

export interface ScenarioCounts {
  name: string;
  requests: number;
  by_step: Record<string, number>;
  in_flight: number;
  max_in_flight: number;
  /** Requests whose client went away before the answer was complete. */
  aborted: number;
}

export interface Conversation {
  text: string;
  /** Requests of each step: attempts. */
  by_step: Record<string, number>;
}

/** One request to a scenario; `step` null leaves the answer to the rules. */
export interface Visit {
  step: StepDto | null;
  /** From 1. */
  attempt: number;
  latencyMs: number;
  leave(aborted: boolean): void;
}

interface Scenario {
  /** Tells a scenario from an earlier one of the same name. */
  generation: number;
  definition: ScenarioDto;
  counts: ScenarioCounts;
}

/** The scenarios and what was asked of them, in memory. */
@Injectable()
export class ScenarioStore {
  private readonly scenarios = new Map<string, Scenario>();
  private readonly conversations = new LRUCache<string, Conversation>({ max: MAX_CONVERSATIONS });
  private generation = 0;

  /** A scenario of the same name is replaced and counted anew. */
  define(definition: ScenarioDto): void {
    const { name } = definition;
    // Deleted first, so that the newest is the last one.
    this.scenarios.delete(name);
    if (this.scenarios.size >= MAX_SCENARIOS)
      throw new TerminalError(
        'too-many-scenarios',
        `There are ${MAX_SCENARIOS} scenarios already; delete them`,
        {
          status: 409,
        },
      );
    const counts = { name, requests: 0, by_step: {}, in_flight: 0, max_in_flight: 0, aborted: 0 };
    this.scenarios.set(name, { generation: (this.generation += 1), definition, counts });
  }

  clear(): void {
    this.scenarios.clear();
    this.conversations.clear();
  }

  counts(name: string): ScenarioCounts {
    return this.find(name).counts;
  }

  /** The conversations of a scenario whose question contains `text`, the latest first. */
  conversationsOf(name: string, text: string): Conversation[] {
    const prefix = `${this.find(name).generation} `;
    const found: Conversation[] = [];
    for (const [key, conversation] of this.conversations.entries())
      if (key.startsWith(prefix) && conversation.text.includes(text)) found.push(conversation);
    return found;
  }

  /**
   * Counts the request in; null when no scenario matches. Of several the newest does.
   * @throws TerminalError `unknown_scenario` (404) for `[scenario:name]` without a scenario of that name
   */
  enter({ question, step: place }: ChatRequest): Visit | null {
    const scenario = this.match(question);
    if (!scenario) return null;
    const { definition, counts } = scenario;
    counts.requests += 1;
    counts.by_step[place] = (counts.by_step[place] ?? 0) + 1;
    counts.in_flight += 1;
    counts.max_in_flight = Math.max(counts.max_in_flight, counts.in_flight);
    const { by_step: attempts } = this.conversation(scenario, question);
    const attempt = (attempts[place] = (attempts[place] ?? 0) + 1);
    const last = definition.on_end === 'rules' ? null : definition.steps.at(-1)!;
    const step = definition.steps[place] ?? last;
    return {
      step,
      attempt,
      latencyMs: step?.latency_ms ?? definition.latency_ms ?? 0,
      leave: (aborted) => {
        counts.in_flight -= 1;
        if (aborted) counts.aborted += 1;
      },
    };
  }

  private match(question: string): Scenario | undefined {
    for (const [, name] of question.matchAll(MARK))
      if (!this.scenarios.has(name!))
        throw new TerminalError(
          'unknown_scenario',
          `There is no scenario ${name}: scenarios live in memory, so define it again after a restart`,
          { status: 404 },
        );
    let newest: Scenario | undefined;
    for (const scenario of this.scenarios.values()) {
      const { name, match = markOf(name) } = scenario.definition;
      if (question.includes(match)) newest = scenario;
    }
    return newest;
  }

  private find(name: string): Scenario {
    const scenario = this.scenarios.get(name);
    if (!scenario) throw new TerminalError('not-found', `There is no scenario ${name}`, { status: 404 });
    return scenario;
  }

  private conversation({ generation }: Scenario, question: string): Conversation {
    const short = question.length <= KEPT_CHARS;
    const key = `${generation} ${short ? question : createHash('sha256').update(question).digest('base64')}`;
    let conversation = this.conversations.get(key);
    if (!conversation) {
      conversation = { text: short ? question : question.slice(0, KEPT_CHARS), by_step: {} };
      this.conversations.set(key, conversation);
    }
    return conversation;
  }
}
