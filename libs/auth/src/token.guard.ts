import {
  applyDecorators,
  createParamDecorator,
  Inject,
  Injectable,
  SetMetadata,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { TerminalError } from '#libs/contracts';
import { PUBLIC_ROUTE } from '#libs/telemetry';
import { Authentication } from './authentication.js';
import { hasScope, isAllowed, type Principal, type Scope } from './principal.js';

export interface GuardOptions {
  /** The name of this service: the audience that its callers' tokens must name. */
  service: string;
  /**
   * Callers that may use this service: services by name, `agent-*` for a family, `user:<id>` for people with a token of their own;
   * null admits every valid token (the public door).
   */
  allowedCallers: string[] | null;
}

export const GUARD_OPTIONS = Symbol('GuardOptions');

/** Lets a route through without a token. */
export const Public = () => SetMetadata(PUBLIC_ROUTE, true);

const ALLOWED_CALLERS = 'baton:allowed-callers';
const NEEDED_SCOPES = 'baton:scopes';

/** On a route or controller: these callers may use it, instead of the service's `allowedCallers`. */
export const AllowCallers = (...callers: string[]) => SetMetadata(ALLOWED_CALLERS, callers);

/** By HTTP request or gRPC metadata object. */
const principals = new WeakMap<object, Principal>();

/** The caller of an HTTP request or gRPC call that `TokenGuard` has let in. */
export function callerOf(context: ExecutionContext): Principal {
  const principal = principals.get(carrierOf(context));
  if (!principal) throw new Error('No principal: is the route public?');
  return principal;
}

/** The caller of the current HTTP request or gRPC call. */
export const Caller = createParamDecorator((_: unknown, context: ExecutionContext) => callerOf(context));

/** Asks every HTTP request (header) and gRPC call (metadata) for its token, then for its caller; `ScopeGuard` asks for the scopes. */
@Injectable()
export class TokenGuard implements CanActivate {
  constructor(
    @Inject(Authentication) private readonly authentication: Authentication,
    @Inject(GUARD_OPTIONS) private readonly options: GuardOptions,
    @Inject(Reflector) private readonly reflector: Reflector,
  ) {}

  /** @throws TerminalError 401 `unauthenticated`, 403 `forbidden`; RetryableError 503 `identity-unavailable`, 429 `rate-limited` */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    if (this.metadata<boolean>(PUBLIC_ROUTE, context)) return true;
    const carrier = carrierOf(context);
    const principal = await this.authentication.authenticate(
      (name) => headerOf(carrier, name),
      addressOf(carrier),
    );
    const { service, allowedCallers } = this.options;
    const callers = this.metadata<string[]>(ALLOWED_CALLERS, context) ?? allowedCallers;
    if (callers && !isAllowed(principal, callers))
      throw forbidden(`Caller ${principal.caller} may not use ${service}`);
    principals.set(carrier, principal);
    return true;
  }

  private metadata<T>(key: string, context: ExecutionContext): T | undefined {
    return this.reflector.getAllAndOverride<T | undefined>(key, [context.getHandler(), context.getClass()]);
  }
}

/** Asks for the scopes of a route. A guard of its own, after those of the controller: what lacks a scope is counted there, too. */
@Injectable()
export class ScopeGuard implements CanActivate {
  constructor(@Inject(Reflector) private readonly reflector: Reflector) {}

  /** @throws TerminalError 403 `forbidden` */
  canActivate(context: ExecutionContext): boolean {
    const targets = [context.getHandler(), context.getClass()];
    const needed = this.reflector.getAllAndOverride<Scope[] | undefined>(NEEDED_SCOPES, targets) ?? [];
    const principal = callerOf(context);
    const missing = needed.filter((scope) => !hasScope(principal, scope));
    if (missing.length > 0) throw insufficientScope(missing);
    return true;
  }
}

/** On a route or controller: the token must have each of these scopes (`admin` implies all). */
export const Scopes = (...scopes: Scope[]) =>
  applyDecorators(SetMetadata(NEEDED_SCOPES, scopes), UseGuards(ScopeGuard));

function carrierOf(context: ExecutionContext): object {
  const carrier: unknown =
    context.getType() === 'http'
      ? context.switchToHttp().getRequest<FastifyRequest>()
      : context.switchToRpc().getContext<unknown>();
  return typeof carrier === 'object' && carrier !== null ? carrier : {};
}

/** gRPC metadata has `get(name)`, which answers a list; an HTTP request has `headers`. */
function headerOf(carrier: object, name: string): string | undefined {
  const { headers, get } = carrier as { headers?: Record<string, unknown>; get?: (name: string) => unknown };
  const value = headers ? headers[name] : get?.call(carrier, name);
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === 'string' ? first : undefined;
}

/** The other end of the connection, or what a proxy says whom the service trusts. API keys come over HTTP alone. */
function addressOf(carrier: object): string {
  return (carrier as Partial<FastifyRequest>).ip ?? 'unknown';
}

const forbidden = (message: string) => new TerminalError('forbidden', message, { status: 403 });

function insufficientScope(missing: Scope[]): TerminalError {
  const scope = missing.join(' ');
  return new TerminalError('forbidden', `The token lacks the scope ${scope}`, {
    status: 403,
    headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}
