import type OpenAI from 'openai';
import type { ModelState } from './llm.js';
import { modelError } from './openai-errors.js';

const REFRESH_MS = 10_000;
const FIRST_RETRY_MS = 500;
const PROBE_TIMEOUT_MS = 5_000;

/**
 * Keeps the model's state by asking `GET /models` in the background: every 10 s while it is well, sooner (0.5 s,
 * doubling up to 10 s) while it is not, so that a model that starts late is noticed soon.
 * A server without that endpoint (404, 405) is taken as well: it answers.
 */
export class ModelWatch {
  private state: ModelState;
  private timer: NodeJS.Timeout | undefined;
  private retryMs = FIRST_RETRY_MS;
  private readonly stopped = new AbortController();

  constructor(
    private readonly client: OpenAI,
    private readonly model: string,
  ) {
    this.state = { ok: false, model, scripted: false, cause: 'The model API was not asked yet' };
    void this.refresh();
  }

  current(): ModelState {
    return this.state;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.stopped.abort();
  }

  private async refresh(): Promise<void> {
    this.state = await this.probe();
    if (this.stopped.signal.aborted) return;
    const delay = this.state.ok ? REFRESH_MS : this.retryMs;
    this.retryMs = this.state.ok ? FIRST_RETRY_MS : Math.min(REFRESH_MS, this.retryMs * 2);
    this.timer = setTimeout(() => void this.refresh(), delay);
    this.timer.unref();
  }

  private async probe(): Promise<ModelState> {
    try {
      const signal = AbortSignal.any([this.stopped.signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
      const { data } = await this.client.models.list({ signal });
      const scripted = (data ?? []).find((model) => model.owned_by === 'scripted');
      return { ok: true, model: scripted?.id ?? this.model, scripted: scripted !== undefined };
    } catch (error) {
      const status = (error as { status?: number }).status;
      if (status === 404 || status === 405) return { ok: true, model: this.model, scripted: false };
      return { ...this.state, ok: false, cause: modelError(error).message };
    }
  }
}
