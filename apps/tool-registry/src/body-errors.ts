import type { FastifyRequest } from 'fastify';
import { pathOf } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import { schemaRejected } from './schemas/schemas.js';

/**
 * A schema that is nested too deeply, or names a property that would reach a prototype, is refused before any route sees the
 * body; a registration answers it as what it is, a schema that is not taken.
 */
export function explainBodyError(error: unknown, request: Pick<FastifyRequest, 'method' | 'url'>): unknown {
  const isRegistration = request.method === 'POST' && pathOf(request) === '/tools';
  if (!isRegistration || !(error instanceof TerminalError)) return error;
  const fault = error.errors?.find(({ field }) => /^(parameters|returns)(\.|$)/.test(field));
  return fault ? schemaRejected(fault.field, fault.message) : error;
}
