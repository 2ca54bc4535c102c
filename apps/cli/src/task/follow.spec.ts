import { TerminalError, type AgentResult, type EntryBody } from '#libs/contracts';
import { followTask, type TaskNews } from './follow.js';

const result: AgentResult = {
  task_id: 't',
  status: 'completed',
  output: 'done',
  error: null,
  steps_used: 1,
  tokens_used: 3,
  tool_calls: 0,
  duration_ms: 5,
};
const model: EntryBody = {
  kind: 'model',
  content: 'done',
  tool_calls: [],
  finish_reason: 'stop',
  usage: { prompt_tokens: 2, completion_tokens: 1 },
  model: 'm',
  duration_ms: 1,
};

const entry = (seq: number, body: EntryBody) =>
  `id: ${seq}\nevent: ${body.kind}\ndata: ${JSON.stringify({ seq, at: 'now', body })}\n\n`;
const finish = (seq: number) => entry(seq, { kind: 'finish', result, error_detail: null });

/** A stream of SSE text that breaks off with an error when `broken`. */
function stream(text: string, broken = false): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      if (text) controller.enqueue(new TextEncoder().encode(text));
      text = '';
      if (broken) setTimeout(() => controller.error(new Error('connection reset')), 5);
      else controller.close();
    },
  });
}

async function follow(answers: Array<() => ReadableStream<Uint8Array>>, patienceMs?: number) {
  const asked: number[] = [];
  const news: TaskNews[] = [];
  const outcome = followTask({
    open: (lastSeq) => {
      asked.push(lastSeq);
      const answer = answers.shift();
      return answer ? Promise.resolve(answer()) : Promise.reject(new Error('refused'));
    },
    onNews: (one) => news.push(one),
    signal: new AbortController().signal,
    patienceMs,
  });
  return { outcome: await outcome, asked, news };
}

const seqs = (news: TaskNews[]) => news.map((one) => (one.kind === 'entry' ? one.entry.seq : one.delta.text));

describe('followTask', () => {
  it('answers the result of the finish entry and shows transient events', async () => {
    const live = `event: delta\ndata: ${JSON.stringify({ kind: 'delta', text: 'do' })}\n\n`;
    const { outcome, news } = await follow([() => stream(live + entry(1, model) + finish(2))]);
    expect(outcome).toEqual(result);
    expect(seqs(news)).toEqual(['do', 1, 2]);
  });

  it('goes on behind the last entry after a broken connection and shows no entry twice', async () => {
    const { asked, news } = await follow([
      () => stream(entry(1, model), true),
      () => stream(entry(1, model) + finish(2)),
    ]);
    expect(asked).toEqual([0, 1]);
    expect(seqs(news)).toEqual([1, 2]);
  });

  it('connects again when the stream ends before the task', async () => {
    const { asked } = await follow([() => stream(entry(1, model)), () => stream(finish(2))]);
    expect(asked).toEqual([0, 1]);
  });

  it('gives up when the stream stays away', async () => {
    await expect(follow([], 250)).rejects.toMatchObject({ code: 'stream-lost' });
  });

  it('does not ask again when it is refused', async () => {
    const open = jest.fn().mockRejectedValue(new TerminalError('events-refused', 'no', { status: 404 }));
    const following = followTask({ open, onNews: () => undefined, signal: new AbortController().signal });
    await expect(following).rejects.toMatchObject({ code: 'events-refused' });
    expect(open).toHaveBeenCalledTimes(1);
  });

  it('ends with the reason of its signal', async () => {
    const leave = new AbortController();
    const following = followTask({
      open: () => Promise.reject(new Error('refused')),
      onNews: () => undefined,
      signal: leave.signal,
    });
    leave.abort(new Error('enough'));
    await expect(following).rejects.toThrow('enough');
  });
});
