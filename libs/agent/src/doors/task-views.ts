import { Inject, Injectable } from '@nestjs/common';
import type { AgentCard, ListTasksDto, TaskPage, TaskView } from '#libs/contracts';
import { onlyUserOf, type Principal } from '#libs/auth';
import { LLM, type Llm } from '#libs/llm';
import { AGENT, type Agent } from '../agent.js';
import { shortName } from '../definition.js';
import { TaskRepository, type Scope } from '../store/task.repository.js';

/** What a caller gets to see, the same at every door. */
@Injectable()
export class TaskViews {
  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
    @Inject(LLM) private readonly llm: Llm,
  ) {}

  /** What this agent is and which model answers. */
  card(): AgentCard {
    const { id, description, tools, limits } = this.agent.definition;
    const { model, scripted } = this.llm.state();
    return {
      id,
      name: shortName(id),
      description,
      tools,
      limits: { max_steps: limits.maxSteps, token_budget: limits.tokenBudget },
      model,
      scripted,
    };
  }

  /** Whose tasks a caller may see. */
  scopeOf(caller: Principal): Scope {
    return { agentId: this.agent.definition.id, tenant: caller.tenant, userId: onlyUserOf(caller) };
  }

  /** @throws TerminalError `task-not-found` (404) */
  find(taskId: string, caller: Principal): Promise<TaskView> {
    return this.tasks.require(taskId, this.scopeOf(caller));
  }

  /** Newest first. */
  async list(query: ListTasksDto, caller: Principal): Promise<TaskPage> {
    const { tasks, next } = await this.tasks.list(this.scopeOf(caller), {
      status: query.status,
      sessionId: query.session_id,
      before: query.cursor,
      limit: query.limit ?? 20,
    });
    return { tasks, next_cursor: next };
  }
}
