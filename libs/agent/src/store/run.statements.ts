import type { Statement } from '#libs/database';
import { dueAt, insertStepMessages } from './outbox.js';

/** Columns of a task that say what was asked. */
export const FACTS = `id, tenant, user_id, scopes, subject_token, session_id, prompt, metadata, max_steps, token_budget, traceparent, reply_to, stream_steps,
  retry_count`;

export const CLAIM = {
  name: 'runs-claim',
  // `offset 0` keeps the look at earlier tasks one by the index for each task. As a join it would compare with every unfinished task,
  // when it was planned while the table was empty: 200 to 500 ms instead of 0.5 ms with 10,000 of them.
  // A lease that ran out is a crash unless entries were added since the last one; a released task has no lease.
  text: `
    with claimed as (
      update agents.tasks t set
        status = 'running', epoch = t.epoch + 1, lease_until = now() + $2 * interval '1 ms', started_at = coalesce(t.started_at, now()),
        crashes = case when t.lease_until is null then t.crashes
                       when (select coalesce(max(seq), 0) from agents.journal where task_id = t.id) > t.crash_seq then 1
                       else t.crashes + 1 end,
        crash_seq = case when t.lease_until is null then t.crash_seq
                         else (select coalesce(max(seq), 0) from agents.journal where task_id = t.id) end
      from unnest($1::uuid[]) as w(id)
      where t.id = w.id and t.status in ('pending', 'running') and (t.lease_until is null or t.lease_until < now())
        and not exists (
          select 1 from agents.tasks e
          where e.tenant = t.tenant and e.agent_id = t.agent_id and e.session_id = t.session_id
            and e.finished_at is null and e.accepted_no < t.accepted_no
          offset 0)
      returning t.*
    ), told as (
      delete from agents.outbox o using claimed where o.task_id = claimed.id
    )
    select ${FACTS}, epoch, cancel_requested, crashes,
           (extract(epoch from now() - created_at) * 1000)::float8 as elapsed_ms,
           (extract(epoch from deadline - now()) * 1000)::float8 as remaining_ms
    from claimed`,
};

// `limit $2` (the number of rows) tells the planner that they are few; without it a plan made early scans the whole table for ever.
// The share lock and a claim's update exclude each other: an entry is either seen by the next claim's replay or refused.
export const APPEND = {
  name: 'runs-append',
  text: `
    with held as (
      select t.id, t.cancel_requested, e.seq, e.epoch, e.body
      from (select * from json_to_recordset($1) as r("taskId" uuid, epoch int, seq int, body json)
            order by "taskId" limit $2) e
      join agents.tasks t on t.id = e."taskId" and t.epoch = e.epoch and t.status = 'running'
      for share of t
    ), added as (
      insert into agents.journal (task_id, seq, epoch, body) select id, seq, epoch, body from held
      on conflict (task_id, seq) do nothing
      returning task_id, epoch, at, seq, body
    ), sent as (${insertStepMessages(
      '$3',
      'join added e on e.task_id = m."taskId" and e.epoch = m.epoch and e.seq = m.seq',
    )})
    select held.id, held.epoch, added.at, held.cancel_requested from added join held on held.id = added.task_id and held.epoch = added.epoch`,
};

/** The final transaction: result, last entries, and the dispatch of the session's next task. */
const finishStatement = (name: string, epoch: string, condition: string): Statement => ({
  name,
  text: `
    with ended as (
      update agents.tasks t set
        status = f.status, output = f.output, error = f.error, error_detail = f.detail, steps_used = f."stepsUsed",
        tokens_used = f."tokensUsed", tool_calls = f."toolCalls", duration_ms = f."durationMs", finished_at = now(), lease_until = null,
        subject_token = null,
        epoch = ${epoch}
      from (select * from json_to_recordset($1) as r("taskId" uuid, epoch int, status text, output text, error text, detail text,
              "stepsUsed" int, "tokensUsed" int, "toolCalls" int, "durationMs" int) order by "taskId" limit $2) f
      where t.id = f."taskId" and t.epoch = f.epoch and ${condition}
      returning t.id, t.epoch, f.epoch as former, t.tenant, t.agent_id, t.session_id, t.finished_at
    ), entries as (
      insert into agents.journal (task_id, seq, epoch, body)
      select ended.id, e.seq, ended.epoch, e.body
      from json_to_recordset($1) as f("taskId" uuid, epoch int, entries json)
      join ended on ended.id = f."taskId" and ended.former = f.epoch, lateral json_to_recordset(f.entries) as e(seq int, body json)
      returning task_id, seq, at, body
    ), sent as (${insertStepMessages(
      '$3',
      `join ended on ended.id = m."taskId" and ended.former = m.epoch
       left join entries e on e.task_id = ended.id and e.seq = m.seq`,
    )}), successor as (
      update agents.tasks t set dispatch_no = t.dispatch_no + 1, dispatched_at = now()
      from ended, lateral (
        select s.id from agents.tasks s
        where s.tenant = ended.tenant and s.agent_id = ended.agent_id and s.session_id = ended.session_id
          and s.finished_at is null and s.status = 'pending' and s.id <> ended.id
        order by s.accepted_no limit 1) s
      where t.id = s.id
      returning t.id, t.dispatch_no, t.agent_id, t.created_at, ended.id as after
    ), told as (
      insert into agents.outbox (task_id, dispatch_no, agent_id, due_at)
      select id, dispatch_no, agent_id, ${dueAt('created_at')} from successor
    )
    select ended.id, ended.epoch, ended.finished_at, successor.id as next_id, successor.dispatch_no as next_no
    from ended left join successor on successor.after = ended.id`,
});

export const FINISH = finishStatement('runs-finish', 't.epoch', `t.status = 'running'`);

/** For a task that no live worker has: the new epoch fences a worker that only seems dead. */
export const FINISH_UNHELD = finishStatement(
  'runs-finish-unheld',
  't.epoch + 1',
  `t.status in ('pending', 'running') and (t.lease_until is null or t.lease_until < now())`,
);
