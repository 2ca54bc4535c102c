import { isTerminal, type JournalEntry, type Problem, type TaskPage, type TaskView } from '#libs/contracts';
import { eventually } from './eventually.js';
import { sseEvents, type SseEvent } from './sse-events.js';

export interface Answer<T> {
  status: number;
  headers: Headers;
  body: T;
}

/** A task as a test submits it; anything else may be given to see it refused. */
export type SubmitBody = { prompt: string } & Record<string, unknown>;
/** What a refusal has beside an answer's own members. */
type Refusal = Partial<Omit<Problem, 'status'>>;
type SubmitAnswer = { task_id: string; status: string } & Refusal;
type ViewAnswer = TaskView & Refusal;

/** The task API, the same at an agent and through the gateway; every answer is returned, refusals too. */
export class TaskApi {
  private constructor(
    /** Base of `/run` and `/tasks`. */
    readonly submitUrl: string,
    /** Base of `/tasks/{id}`. */
    readonly taskUrl: string,
    private readonly token: string | null,
  ) {}

  /** At an agent's own address. */
  static direct(agentUrl: string, token: string | null): TaskApi {
    return new TaskApi(agentUrl, agentUrl, token);
  }

  /** Through the gateway. */
  static through(gatewayUrl: string, agent: string, token: string): TaskApi {
    return new TaskApi(`${gatewayUrl}/v1/agents/${agent}`, `${gatewayUrl}/v1`, token);
  }

  as(token: string): TaskApi {
    return new TaskApi(this.submitUrl, this.taskUrl, token);
  }

  run(body: SubmitBody, headers: Record<string, string> = {}): Promise<Answer<ViewAnswer>> {
    return this.json(`${this.submitUrl}/run`, 'POST', body, headers);
  }

  submit(body: SubmitBody, headers: Record<string, string> = {}): Promise<Answer<SubmitAnswer>> {
    return this.json(`${this.submitUrl}/tasks`, 'POST', body, headers);
  }

  /** Submits and returns the task's id. @throws Error when it was refused */
  async accepted(body: SubmitBody, headers: Record<string, string> = {}): Promise<string> {
    const answer = await this.submit(body, headers);
    if (answer.status !== 202)
      throw new Error(`not accepted: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body.task_id;
  }

  get(taskId: string): Promise<Answer<ViewAnswer>> {
    return this.json(`${this.taskUrl}/tasks/${taskId}`, 'GET');
  }

  list(query: Record<string, string> = {}): Promise<Answer<TaskPage & Refusal>> {
    return this.json(`${this.submitUrl}/tasks?${new URLSearchParams(query).toString()}`, 'GET');
  }

  cancel(taskId: string): Promise<Answer<ViewAnswer>> {
    return this.json(`${this.taskUrl}/tasks/${taskId}/cancel`, 'POST');
  }

  /** The task once `accept` likes it. */
  async until(taskId: string, accept: (view: TaskView) => boolean, timeoutMs?: number): Promise<TaskView> {
    return eventually(async () => (await this.get(taskId)).body, accept, {
      timeoutMs,
      what: `task ${taskId}`,
    });
  }

  ended(taskId: string, timeoutMs?: number): Promise<TaskView> {
    return this.until(taskId, ({ status }) => isTerminal(status), timeoutMs);
  }

  /** The events of a task until its stream ends or `signal` aborts. @throws Error when the answer is no stream */
  async *events(
    taskId: string,
    { after, signal }: { after?: number | string; signal?: AbortSignal } = {},
  ): AsyncGenerator<SseEvent> {
    const response = await fetch(`${this.taskUrl}/tasks/${taskId}/events`, {
      headers: {
        ...(this.token === null ? {} : { authorization: `Bearer ${this.token}` }),
        ...(after === undefined ? {} : { 'last-event-id': String(after) }),
      },
      signal,
    });
    if (!response.ok || !response.body)
      throw new Error(`no stream: ${response.status} ${await response.text()}`);
    yield* sseEvents(response.body);
  }

  /** The journal of an ended task, read from its event stream. */
  async journal(taskId: string): Promise<JournalEntry[]> {
    const entries: JournalEntry[] = [];
    for await (const { id, data } of this.events(taskId))
      if (id !== undefined) entries.push(data as JournalEntry);
    return entries;
  }

  private async json<T>(
    url: string,
    method: 'GET' | 'POST',
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<T>> {
    const response = await fetch(url, {
      method,
      headers: {
        ...(this.token === null ? {} : { authorization: `Bearer ${this.token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: (text === '' ? undefined : JSON.parse(text)) as T,
    };
  }
}
