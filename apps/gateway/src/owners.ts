import { Inject, Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { BatonError, taskNotFound } from '#libs/contracts';
import { AgentClient, type OnBehalf } from './agent-client.js';

/** Which agent has a task; found by asking all when it is not remembered. */
@Injectable()
export class Owners {
  private readonly known = new LRUCache<string, string>({ max: 50_000 });

  constructor(@Inject(AgentClient) private readonly agents: AgentClient) {}

  remember(taskId: string, agent: string): void {
    this.known.set(taskId, agent);
  }

  /** @throws TerminalError `task-not-found` (404); the error of an agent that could not be asked when no other has the task */
  async ownerOf(taskId: string, by: OnBehalf): Promise<string> {
    const remembered = this.known.get(taskId);
    if (remembered) return remembered;
    const asked = await Promise.allSettled(
      this.agents.ids.map(async (agent) => {
        await this.agents.get(agent, taskId, by);
        return agent;
      }),
    );
    const found = asked.find((answer) => answer.status === 'fulfilled');
    if (found) {
      this.known.set(taskId, found.value);
      return found.value;
    }
    for (const answer of asked)
      if (
        answer.status === 'rejected' &&
        !(answer.reason instanceof BatonError && answer.reason.status === 404)
      )
        throw answer.reason;
    throw taskNotFound();
  }
}
