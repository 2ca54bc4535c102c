import { stepOf, type agentsV1, type LiveDelta } from '#libs/contracts';
import type { ServerSentEvent } from '#libs/chassis';
import type { FeedItem } from '../feed.js';

/** A feed's item as a server-sent event: journal entries carry their sequence as `id:`, transient news none. */
export function serverSentEvent(item: FeedItem): ServerSentEvent {
  if ('delta' in item) return { event: item.delta.kind, data: JSON.stringify(item.delta) };
  return { id: item.entry.seq, event: item.entry.body.kind, data: JSON.stringify(item.entry) };
}

const DELTA_TYPES: Record<LiveDelta['kind'], string> = {
  delta: 'delta',
  model_started: 'llm_call',
  tool_started: 'tool_call',
  retry: 'retry',
};
/** Makes `StepEvent`s of one feed; `after` is the sequence from which it was watched. */
export function stepEvents(after: number): (item: FeedItem) => agentsV1.StepEvent {
  // Every model entry but the last is followed by the results of its calls.
  let step = Math.ceil(after / 2);
  return (item) => {
    const { data } = serverSentEvent(item);
    if ('delta' in item) {
      const { kind, text } = item.delta;
      const step_number = kind === 'tool_started' ? step : step + 1;
      return { step_number, type: DELTA_TYPES[kind], content: text, sequence: 0, entry_json: data };
    }
    const { seq, body } = item.entry;
    if (body.kind === 'model') step += 1;
    // The end that comes again, to a watcher from there or from beyond it.
    else if (seq <= after) step = Math.floor(seq / 2);
    return { step_number: step, ...stepOf(body), sequence: seq, entry_json: data };
  };
}
