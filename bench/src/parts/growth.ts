import { checkAnswers } from '../baton.js';
import { drive } from '../measure.js';
import type { Context, Part, Row } from '../part.js';
import { scenario } from '../scenarios.js';

/** Journal entries before the result: `n` model replies and `n - 1` tool results. */
const ENTRIES = [5, 17, 65];
const TASKS = 20;
/** Bytes per entry of the longest task against the shortest: a history that is rewritten would give 13. */
const MAX_GROWTH = 1.2;

/** What a task costs Postgres as it grows. */
export const growth: Part = {
  name: 'growth',
  title: 'Commits and bytes per task by journal entries, one task at a time',
  run: async (context) => {
    const measured = [];
    for (const entries of ENTRIES) {
      context.progress(`${entries} entries`);
      measured.push({ entries, ...(await measure(context, entries)) });
    }
    const rows: Row[] = measured.map(({ entries, commits, journal, wal }) => ({
      what: `${entries} entries: commits, journal bytes, WAL bytes`,
      baton: `${commits.toFixed(1)}, ${journal.toFixed(0)}, ${wal.toFixed(0)}`,
    }));
    const perEntry = measured.map(({ entries, journal }) => journal / entries);
    const ratio = perEntry.at(-1)! / perEntry[0]!;
    rows.push({
      what: 'journal bytes per entry, longest / shortest',
      baton: ratio.toFixed(2),
      target: `≤ ${MAX_GROWTH} (linear)`,
      ok: ratio <= MAX_GROWTH,
    });
    return rows;
  },
};

async function measure({ stack, baton }: Context, entries: number) {
  const name = `growth-${entries}`;
  await stack.scenario(scenario(name, (entries + 1) / 2, 0));
  const position = async () => {
    const [row] = await baton.database.query<{ xid: string; lsn: string }>(
      `select pg_snapshot_xmax(pg_current_snapshot())::text as xid, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::text as lsn`,
    );
    return { xid: Number(row!.xid), lsn: Number(row!.lsn) };
  };
  const before = await position();
  await drive(TASKS, 1, (i) => baton.runTask(`[${name}] ${i}`));
  const after = await position();
  await checkAnswers(baton.database, `[${name}] `, TASKS);
  const [row] = await baton.database.query<{ bytes: string }>(
    `select sum(octet_length(j.body::text)) as bytes from agents.journal j join agents.tasks t on t.id = j.task_id
     where t.prompt like $1 || '%' and j.body->>'kind' <> 'finish'`,
    [`[${name}] `],
  );
  return {
    commits: (after.xid - before.xid) / TASKS,
    wal: (after.lsn - before.lsn) / TASKS,
    journal: Number(row!.bytes) / TASKS,
  };
}
