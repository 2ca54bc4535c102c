import { setTimeout as sleep } from 'node:timers/promises';
import { HttpClient } from '#libs/chassis';
import { RetryableError, TerminalError, type AgentCard, type TaskView } from '#libs/contracts';

const SUBMIT_TRIES_MS = [0, 500, 1000, 2000, 4000];

/** The public door, as a developer's token opens it. */
export class Gateway {
  private readonly http = new HttpClient({ connections: 4 });
  private readonly headers: Record<string, string>;

  constructor(
    readonly url: string,
    token: string,
  ) {
    this.headers = { authorization: `Bearer ${token}` };
  }

  async agents(): Promise<AgentCard[]> {
    const { body } = await this.http.json<{ agents: AgentCard[] }>(`${this.url}/v1/agents`, {
      headers: this.headers,
    });
    return body.agents;
  }

  /** Submits once: the same idempotency key goes with every try, so that a lost answer starts no second task. */
  async submit(agent: string, prompt: string): Promise<string> {
    const headers = { ...this.headers, 'idempotency-key': crypto.randomUUID() };
    for (const [i, pause] of SUBMIT_TRIES_MS.entries()) {
      await sleep(pause);
      try {
        const url = `${this.url}/v1/agents/${encodeURIComponent(agent)}/tasks`;
        const { body } = await this.http.json<{ task_id: string }>(url, {
          method: 'POST',
          headers,
          body: { prompt },
        });
        return body.task_id;
      } catch (error) {
        if (!(error instanceof RetryableError) || i === SUBMIT_TRIES_MS.length - 1) throw error;
      }
    }
    throw new Error('unreachable');
  }

  async task(taskId: string): Promise<TaskView> {
    return (await this.http.json<TaskView>(this.taskUrl(taskId), { headers: this.headers })).body;
  }

  async cancel(taskId: string): Promise<void> {
    await this.http.json(`${this.taskUrl(taskId)}/cancel`, { method: 'POST', headers: this.headers });
  }

  /**
   * The task's event stream after entry `lastSeq`. Aborting `signal` ends it.
   * @throws RetryableError `events-unavailable`, TerminalError `events-refused`.
   */
  async events(taskId: string, lastSeq: number, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const headers = {
      ...this.headers,
      accept: 'text/event-stream',
      ...(lastSeq > 0 ? { 'last-event-id': String(lastSeq) } : {}),
    };
    const response = await fetch(`${this.taskUrl(taskId)}/events`, { headers, signal });
    if (response.ok && response.body) return response.body;
    await response.body?.cancel();
    const { status } = response;
    const message = `The event stream answered ${status}`;
    if (status < 500 && ![408, 425, 429].includes(status))
      throw new TerminalError('events-refused', message, { status });
    throw new RetryableError('events-unavailable', message, { status });
  }

  close(): Promise<void> {
    return this.http.close();
  }

  private taskUrl(taskId: string): string {
    return `${this.url}/v1/tasks/${encodeURIComponent(taskId)}`;
  }
}
