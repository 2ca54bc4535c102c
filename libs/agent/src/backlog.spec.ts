import type { Agent } from './agent.js';
import { Backlog } from './backlog.js';
import type { TaskRepository } from './store/task.repository.js';

const LIMIT = 3;
const backlogOf = (waiting: Record<string, number> = {}) =>
  new Backlog(
    { definition: { id: 'agent-x' }, config: { MAX_BACKLOG: LIMIT } } as Agent,
    { backlog: async () => new Map(Object.entries(waiting)) } as unknown as TaskRepository,
  );
const outcomes = async (admissions: Array<Promise<unknown>>) =>
  (await Promise.allSettled(admissions)).map(({ status }) => status === 'fulfilled');

describe('P12: the backlog', () => {
  it('counts acceptances that are under way: of many at once only as many as there is room for', async () => {
    const backlog = backlogOf({ acme: 1 });
    const admitted = await outcomes(Array.from({ length: 20 }, () => backlog.admit('acme')));
    expect(admitted.filter(Boolean)).toHaveLength(LIMIT - 1);
  });

  it('gives the room back when no task came of it, and keeps it when one did', async () => {
    const backlog = backlogOf();
    const settle = await Promise.all([1, 2, 3].map(() => backlog.admit('acme')));
    settle[0]!(false);
    settle[1]!(true);
    settle[2]!(true);
    expect(await outcomes([backlog.admit('acme'), backlog.admit('acme')])).toEqual([true, false]);
  });

  it('of one tenant is no hindrance to another', async () => {
    const backlog = backlogOf({ acme: LIMIT });
    await expect(backlog.admit('acme')).rejects.toMatchObject({ code: 'backlog-full', status: 429 });
    await expect(backlog.admit('other')).resolves.toEqual(expect.any(Function));
  });

  it('is counted more rarely where that takes long, but nobody is refused for an old count', async () => {
    const counted: number[] = [];
    let now = 0;
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => now);
    const backlog = new Backlog(
      { definition: { id: 'agent-x' }, config: { MAX_BACKLOG: LIMIT } } as Agent,
      {
        backlog: async () => {
          counted.push(now);
          now += 100;
          return new Map();
        },
      } as unknown as TaskRepository,
    );
    const accept = async () => (await backlog.admit('acme'))(true);
    await accept();
    now = 1500;
    await accept();
    await accept();
    expect(counted).toEqual([0]);
    await accept();
    expect(counted).toEqual([0, 1500]);
    now = 60_000;
    await accept();
    expect(counted).toEqual([0, 1500, 60_000]);
    clock.mockRestore();
  });
});
