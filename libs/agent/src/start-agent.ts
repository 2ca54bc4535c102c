import { BullModule } from '@nestjs/bullmq';
import { Module, type DynamicModule } from '@nestjs/common';
import { AuthModule, Tokens } from '#libs/auth';
import { HttpClient, Readiness, runService, type ServiceFactory } from '#libs/chassis';
import { DatabaseModule } from '#libs/database';
import { LLM, llmModule, type Llm } from '#libs/llm';
import { connectHandoff, HandoffModule, MessagingModule } from '#libs/messaging';
import { ToolClient } from '#libs/tools';
import { AGENT, type Agent } from './agent.js';
import { Backlog } from './backlog.js';
import { Canceller } from './canceller.js';
import { agentConfig } from './config.js';
import { DeclaredTools } from './declared-tools.js';
import type { AgentDefinition } from './definition.js';
import { Dispatcher, queueName, runQueueProvider } from './dispatcher.js';
import { GrpcController } from './doors/grpc.controller.js';
import { createHandoffDoor } from './doors/handoff.door.js';
import { TaskController } from './doors/task.controller.js';
import { TaskViews } from './doors/task-views.js';
import { TaskFeed } from './feed.js';
import { Announcements } from './handoff/announcements.js';
import { handOffsOf } from './handoff/hand-offs.js';
import { Senders } from './handoff/senders.js';
import { UndeliverableTasks } from './handoff/undeliverable-tasks.js';
import { Intake } from './intake.js';
import { Leases } from './lease.js';
import { LocalRuns } from './local-runs.js';
import { Reconciler } from './reconciler.js';
import { METRIC_PROVIDERS, RunMetrics } from './run-metrics.js';
import { Runner } from './run.js';
import { DispatchRepository } from './store/dispatch.repository.js';
import { MIGRATIONS } from './store/migrations.js';
import { RunRepository } from './store/run.repository.js';
import { TaskRepository } from './store/task.repository.js';
import { createWorker } from './worker.js';

@Module({})
class AgentModule {}

/** The service that every agent is: `definition` is all that differs. */
export function agentService(definition: AgentDefinition): ServiceFactory {
  return (env) => {
    const config = agentConfig(env);
    return {
      name: definition.id,
      description: definition.description,
      grpc: { package: 'agents.v1', protoPath: 'agents/v1/agent_service.proto' },
      imports: [
        AuthModule.forRoot({
          service: definition.id,
          config,
          allowedCallers: config.ALLOWED_CALLERS.split(',').map((caller) => caller.trim()),
        }),
        DatabaseModule.forRoot({
          url: config.DATABASE_URL,
          schema: 'agents',
          migrations: MIGRATIONS,
          poolMax: config.DATABASE_POOL,
        }),
        MessagingModule.forRoot(config.REDIS_URL),
        HandoffModule.forRoot({ service: definition.id, schema: 'agents', config }),
        llmModule(config),
        agentModule({ definition, config }),
      ],
      openDoors: (app) => connectHandoff(app, (poison) => app.get(UndeliverableTasks).bury(poison)),
    };
  };
}

/** An agent's `main.ts`. */
export function startAgent(definition: AgentDefinition): Promise<void> {
  return runService(agentService(definition));
}

function agentModule(agent: Agent): DynamicModule {
  return {
    module: AgentModule,
    imports: [BullModule.registerQueue({ name: queueName(agent.definition.id) })],
    controllers: [TaskController, GrpcController, createHandoffDoor(agent)],
    providers: [
      { provide: AGENT, useValue: agent },
      { provide: ToolClient, inject: [Tokens, Readiness, LLM], useFactory: toolClient(agent) },
      runQueueProvider(agent.definition.id),
      DeclaredTools,
      TaskRepository,
      RunRepository,
      DispatchRepository,
      LocalRuns,
      Dispatcher,
      TaskFeed,
      Announcements,
      Senders,
      UndeliverableTasks,
      handOffsOf(agent.definition.id),
      Backlog,
      Intake,
      TaskViews,
      Leases,
      ...METRIC_PROVIDERS,
      RunMetrics,
      Runner,
      Canceller,
      Reconciler,
      createWorker(agent),
    ],
  };
}

/** The tool client, and what readiness asks of the registry and of the model (its cached state: a model outage restarts nothing). */
function toolClient({ config, definition }: Agent) {
  return (tokens: Tokens, readiness: Readiness, llm: Llm): ToolClient => {
    const http = new HttpClient();
    readiness.add({
      name: 'tool-registry',
      check: () => http.json(new URL('/health', config.TOOL_REGISTRY_URL).href, { timeoutMs: 1500 }),
      fix: 'start the tool registry, or correct TOOL_REGISTRY_URL',
    });
    readiness.add({
      name: 'model',
      check: () => {
        const { ok, cause } = llm.state();
        return ok ? Promise.resolve() : Promise.reject(new Error(cause ?? 'not reachable'));
      },
      fix: 'check OPENAI_BASE_URL, OPENAI_API_KEY and BATON_MODEL',
    });
    return new ToolClient({
      registryUrl: config.TOOL_REGISTRY_URL,
      tokens,
      http,
      declared: definition.tools,
    });
  };
}
