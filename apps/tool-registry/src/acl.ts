import { TerminalError } from '#libs/contracts';
import type { Grants } from './config.js';

/** Which agent may call which tool. The agent is the caller that its token names. */
export class ToolAcl {
  private readonly granted: Map<string, Set<string>>;

  constructor(grants: Grants) {
    this.granted = new Map(Object.entries(grants).map(([agent, tools]) => [agent, new Set(tools)]));
  }

  mayCall(agent: string, tool: string): boolean {
    const tools = this.granted.get(agent);
    return tools !== undefined && (tools.has(tool) || tools.has('*'));
  }

  /** @throws TerminalError 403 `forbidden`. */
  require(agent: string, tool: string): void {
    if (!this.mayCall(agent, tool))
      throw new TerminalError('forbidden', `${agent} may not call ${tool}`, { status: 403 });
  }
}
