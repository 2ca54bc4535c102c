import { Inject, Injectable } from '@nestjs/common';
import { LOGGER } from '#libs/chassis';
import { TerminalError, type ToolDefinition } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { canonicalJson, sha256 } from '../canonical-json.js';
import { endpointForbidden, EndpointPolicy } from '../endpoints/endpoint-policy.js';
import { ToolCaller } from '../endpoints/tool-caller.js';
import { schemaRejected, Schemas } from '../schemas/schemas.js';
import { Catalogue } from './catalogue.js';
import { breakingChange, predecessorOf } from './compatibility.js';
import type { RegisteredTool } from './registered-tool.js';
import { ToolsRepository, type Registration as Statements } from './tools.repository.js';

export type RegistrationResult = 'added' | 'moved' | 'unchanged';

/** Takes tools in: a version is published once and never changes, a name belongs to the service that took it first. */
@Injectable()
export class ToolRegistration {
  constructor(
    @Inject(Schemas) private readonly schemas: Schemas,
    @Inject(EndpointPolicy) private readonly endpoints: EndpointPolicy,
    @Inject(ToolCaller) private readonly caller: ToolCaller,
    @Inject(ToolsRepository) private readonly repository: ToolsRepository,
    @Inject(Catalogue) private readonly catalogue: Catalogue,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** @throws TerminalError 409 `tool-name-taken`, `tool-version-conflict`; 422 `tool-schema-rejected`, `endpoint-forbidden`. */
  async register(owner: string, definition: ToolDefinition): Promise<RegistrationResult> {
    const { endpoint: _endpoint, health_url: _healthUrl, ...fixed } = definition;
    const tool: RegisteredTool = { definition, owner, hash: sha256(canonicalJson(fixed)) };
    const before = await this.repository.registering((statements) => compare(statements, tool));
    if (before === 'unchanged') return before;
    // Slow checks run outside the transaction; the comparison is made again when they are through.
    if (before === 'added') await this.schemas.vet(definition);
    await this.vetEndpoints(definition);
    const result = await this.repository.registering((statements) => store(statements, tool));
    await this.catalogue.refresh();
    if (result !== 'unchanged')
      this.logger.info(
        { tool: definition.name, version: definition.version, owner, result },
        'tool registered',
      );
    return result;
  }

  private async vetEndpoints(definition: ToolDefinition): Promise<void> {
    for (const field of ['endpoint', 'health_url'] as const) {
      await this.endpoints.require(field, definition[field]);
      const status = await this.caller.probe(definition[field]);
      if (status !== null && status >= 300 && status < 400) throw endpointForbidden(field, 'it redirects');
    }
  }
}

async function compare(
  statements: Statements,
  { definition, owner, hash }: RegisteredTool,
): Promise<RegistrationResult> {
  const { name, version } = definition;
  const versions = await statements.versionsOf(name);
  if (versions.some((other) => other.owner !== owner))
    throw new TerminalError('tool-name-taken', `${name} belongs to another service`, { status: 409 });
  const same = versions.find((other) => other.definition.version === version);
  if (!same) {
    const predecessor = predecessorOf(
      version,
      versions.map((other) => other.definition),
    );
    const broken = predecessor && breakingChange(predecessor, definition);
    if (broken) throw schemaRejected('parameters', broken);
    return 'added';
  }
  if (same.hash !== hash)
    throw new TerminalError(
      'tool-version-conflict',
      `${name}@${version} is published with another definition: raise its version`,
      {
        status: 409,
      },
    );
  const stays =
    same.definition.endpoint === definition.endpoint && same.definition.health_url === definition.health_url;
  return stays ? 'unchanged' : 'moved';
}

async function store(statements: Statements, tool: RegisteredTool): Promise<RegistrationResult> {
  const result = await compare(statements, tool);
  if (result === 'added') await statements.add(tool);
  if (result === 'moved') await statements.move(tool.definition);
  return result;
}
