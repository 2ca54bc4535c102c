import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { API_KEY, apiKeyOf, callerOf } from '#libs/auth';
import { RateLimits } from './rate-limits.js';

/** Counts every request that was let in, by its API key, or by the user or tenant of its token. */
@Injectable()
export class RateLimitGuard implements CanActivate {
  constructor(@Inject(RateLimits) private readonly limits: RateLimits) {}

  /** @throws RetryableError 429 `rate-limited` */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const http = context.switchToHttp();
    const headers = await this.limits.consume(keyOf(context, http.getRequest<FastifyRequest>()));
    http.getResponse<FastifyReply>().headers(headers);
    return true;
  }
}

function keyOf(context: ExecutionContext, { headers }: FastifyRequest): string {
  const apiKey = apiKeyOf((name) => {
    const value = headers[name];
    return typeof value === 'string' ? value : undefined;
  });
  const keyId = API_KEY.exec(apiKey ?? '')?.[1];
  if (keyId) return `key:${keyId}`;
  const { tenant, userId, caller } = callerOf(context);
  return `user:${JSON.stringify([tenant, userId ?? caller])}`;
}
