import { randomUUID } from 'node:crypto';
import {
  DEAD_LETTERS_TOPIC,
  resultsTopic,
  tasksTopic,
  type AgentResult,
  type AgentResultEvent,
  type AgentStepEvent,
  type AgentTaskCancel,
  type AgentTaskEvent,
  type DeadLetterEvent,
  type JournalEntry,
} from '#libs/contracts';
import { MessageCodec } from '#libs/messaging';
import { eventually, type TestStack } from '#libs/testing';
import type { Accepted, Asker, Door, Refusal, Step, TaskRequest } from './door.js';
import type { Wire } from './wire.js';

const AGENT = 'agent-test';
/** The client that hands off and to whom results come back. */
const CALLER = 'tests';

/** Hand-off by messages: an Avro event on `agent.tasks.test`, its answers on `agent.results.tests` and `agent.dead-letters`. */
export class HandoffDoor implements Door {
  readonly overload = 'waits';
  private readonly codec = new MessageCodec(null);
  private readonly results = new Map<string, AgentResultEvent>();
  private readonly stepEvents: AgentStepEvent[] = [];
  private readonly deadLetters = new Map<string, DeadLetterEvent>();

  private constructor(
    readonly name: string,
    private readonly stack: TestStack,
    private readonly wire: Wire,
  ) {}

  static async open(name: string, stack: TestStack, wire: Wire): Promise<HandoffDoor> {
    const door = new HandoffDoor(name, stack, wire);
    await wire.listen([resultsTopic(CALLER), DEAD_LETTERS_TOPIC], (message) => door.receive(message));
    return door;
  }

  /**
   * A message that was taken says nothing. So another one of the same key follows it, which cannot be delivered: when its dead letter
   * is there, that of the first would be, too.
   */
  async submit(request: TaskRequest, asker?: Asker): Promise<Accepted | Refusal> {
    const taskId = request.key ?? randomUUID();
    const messageId = await this.publishTask({ ...request, key: taskId }, asker);
    const session = request.session_id ?? taskId;
    const marker = await this.publish('AgentTaskCancel', session, cancelOf(taskId, session, 'nobody'));
    await this.deadLetter(marker);
    const letter = this.deadLetters.get(messageId);
    return letter ? refusalOf(letter) : { taskId };
  }

  async send(request: TaskRequest & { key: string }): Promise<void> {
    await this.publishTask(request);
  }

  async result(taskId: string): Promise<AgentResult> {
    const result = await eventually(() => this.results.get(taskId), Boolean, { what: `result of ${taskId}` });
    return result!;
  }

  async steps(taskId: string): Promise<Step[]> {
    await this.result(taskId);
    const mine = this.stepEvents.filter(({ task_id }) => task_id === taskId);
    return mine.map(({ sequence, entry_json }) => ({
      sequence,
      kind: (JSON.parse(entry_json) as JournalEntry).body.kind,
    }));
  }

  async cancel(taskId: string, asker?: Asker): Promise<{ status: string } | Refusal> {
    const messageId = await this.publish('AgentTaskCancel', taskId, cancelOf(taskId, taskId, AGENT), asker);
    const said = await eventually(
      () => this.deadLetters.get(messageId) ?? this.results.get(taskId),
      Boolean,
      {
        what: `an answer to the cancel of ${taskId}`,
      },
    );
    return 'reason' in said! ? refusalOf(said) : { status: said!.status };
  }

  close(): Promise<void> {
    return this.wire.close();
  }

  private publishTask(request: TaskRequest & { key: string }, asker?: Asker): Promise<string> {
    const session = request.session_id ?? request.key;
    const event: AgentTaskEvent = {
      task_id: request.key,
      source_agent: CALLER,
      target_agent: AGENT,
      session_id: session,
      prompt: request.prompt,
      context: request.metadata ?? {},
      created_at: Date.now(),
      max_steps: request.max_steps ?? null,
      token_budget: request.token_budget ?? null,
      deadline: request.deadline_ms === undefined ? null : Date.now() + request.deadline_ms,
      reply_to: CALLER,
      stream_steps: true,
      retry_count: 0,
      last_error: null,
    };
    return this.publish('AgentTaskEvent', session, event, asker);
  }

  /** Returns the id under which a dead letter would name the message. */
  private async publish(
    kind: 'AgentTaskEvent' | 'AgentTaskCancel',
    key: string,
    body: AgentTaskEvent | AgentTaskCancel,
    asker: Asker = {},
  ): Promise<string> {
    const id = randomUUID();
    const { value, headers } = this.codec.encode(kind, body as AgentTaskEvent);
    const token =
      'token' in asker ? asker.token : this.stack.token(asker, { aud: AGENT, act: { sub: CALLER } });
    await this.wire.send({
      id,
      topic: tasksTopic(AGENT),
      key,
      value,
      headers: {
        ...headers,
        ce_id: id,
        ce_source: `/services/${CALLER}`,
        ce_type: `com.baton.agents.v1.${kind}`,
        ce_specversion: '1.0',
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
    });
    return id;
  }

  private async receive(message: {
    topic: string;
    value: Buffer;
    headers: Record<string, string>;
  }): Promise<void> {
    const { kind, body } = await this.codec.decode(message.topic, message.value, message.headers);
    if (kind === 'AgentResultEvent') this.results.set(body.task_id, body);
    if (kind === 'AgentStepEvent') this.stepEvents.push(body);
    if (kind === 'DeadLetterEvent' && body.message_id !== null) this.deadLetters.set(body.message_id, body);
  }

  private deadLetter(messageId: string): Promise<unknown> {
    return eventually(() => this.deadLetters.has(messageId), Boolean, {
      what: `the dead letter of ${messageId}`,
      timeoutMs: 60_000,
    });
  }
}

const cancelOf = (taskId: string, session: string, agent: string): AgentTaskCancel => ({
  task_id: taskId,
  source_agent: CALLER,
  target_agent: agent,
  session_id: session,
  created_at: Date.now(),
});

/** The record says `context` where the other doors say `metadata`. */
const refusalOf = ({ reason, errors }: DeadLetterEvent): Refusal => ({
  refused: reason,
  fields: errors.map(({ field }) => (field === 'context' ? 'metadata' : field)),
});
