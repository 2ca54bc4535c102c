import { matchesAny, SCOPES, type Scope } from '#libs/auth';

interface Rule {
  callers: string[];
  /** Services that these callers call. An agent also addresses whoever gave it a task, with the task's result. */
  audiences: string[];
  scopes: Scope[];
}

const WORK: Scope[] = ['tasks:read', 'tasks:write'];

/** Who calls whom, unless `IDENTITY_CLIENTS` says otherwise. */
const MATRIX: Rule[] = [
  {
    callers: ['gateway', 'api-gateway'],
    audiences: ['agent-*', 'orchestrator', 'supervisor', 'tools-*', 'dead-letters'],
    scopes: [...SCOPES],
  },
  {
    callers: ['orchestrator', 'supervisor'],
    audiences: ['agent-*', 'orchestrator', 'supervisor', 'gateway', 'tool-registry', 'dead-letters'],
    scopes: WORK,
  },
  {
    callers: ['agent-*'],
    audiences: ['tool-registry', 'orchestrator', 'supervisor', 'gateway', 'dead-letters'],
    scopes: WORK,
  },
  { callers: ['dead-letters'], audiences: ['agent-*', 'orchestrator'], scopes: WORK },
  { callers: ['tool-registry'], audiences: ['tools-*'], scopes: WORK },
  { callers: ['tools-*'], audiences: ['tool-registry'], scopes: [] },
  { callers: ['cli'], audiences: ['*'], scopes: [...SCOPES] },
];

const ruleOf = (client: string) => MATRIX.find(({ callers }) => matchesAny(client, callers));

/** Nobody, for a client that the matrix does not know. */
export const defaultAudiences = (client: string): string[] => ruleOf(client)?.audiences ?? [];
export const defaultScopes = (client: string): Scope[] => ruleOf(client)?.scopes ?? [];
