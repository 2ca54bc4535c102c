import { Body, Controller, Inject, Post, Res, SetMetadata } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { PUBLIC_ROUTE } from '#libs/telemetry';
import { answerByRules } from '../rules/rules.js';
import { ScenarioStore, type Visit } from '../scenarios/scenario.store.js';
import { draftOf, faultOf } from '../scenarios/step.js';
import { parseChatRequest, type ChatRequest } from './chat-request.js';
import { complete } from './completion.js';
import { deliver, hang, pause, refuse, type Delivery } from './delivery.js';

const PLAIN: Delivery = { chunkChars: 256, chunkDelayMs: 0, cutAfter: null };

/** Chat completions: a scenario answers when one matches the last user message, the rules otherwise. */
@ApiTags('openai')
@SetMetadata(PUBLIC_ROUTE, true)
@Controller('v1/chat/completions')
export class ChatController {
  constructor(@Inject(ScenarioStore) private readonly scenarios: ScenarioStore) {}

  @Post()
  async create(@Body() body: unknown, @Res() reply: FastifyReply): Promise<void> {
    const request = parseChatRequest(body);
    const visit = this.scenarios.enter(request);
    reply.hijack();
    const response = reply.raw;
    if (visit) await play(visit, request, response);
    else await deliver(response, request, complete(request, answerByRules(request)), PLAIN);
  }
}

async function play(visit: Visit, request: ChatRequest, response: ServerResponse): Promise<void> {
  let cutOnPurpose = false;
  response.once('close', () => visit.leave(!response.writableFinished && !cutOnPurpose));
  if (visit.latencyMs > 0 && !(await pause(response, visit.latencyMs))) return;
  const { step, attempt } = visit;
  const fault = step ? faultOf(step, attempt) : null;
  if (fault === 'error') return refuse(response, step!.error!.status, step!.error!.retry_after);
  if (fault === 'hang') return hang(response);
  cutOnPurpose = fault === 'cut';
  const draft = step ? draftOf(step, attempt, request) : answerByRules(request);
  await deliver(response, request, complete(request, draft), {
    chunkChars: step?.chunk_chars ?? PLAIN.chunkChars,
    chunkDelayMs: step?.chunk_delay_ms ?? 0,
    cutAfter: cutOnPurpose ? step!.cut_after! : null,
  });
}
