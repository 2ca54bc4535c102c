import {
  createParamDecorator,
  Inject,
  Injectable,
  Module,
  SetMetadata,
  type CanActivate,
  type DynamicModule,
  type ExecutionContext,
} from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import type { Request } from 'express';
import { makeValidator, EnvError } from 'envalid';
import { TerminalError } from '#libs/contracts';
import { PUBLIC_ROUTE } from '#libs/telemetry';
import { Tokens, type Principal } from './tokens.js';

interface AuthOptions {
  /** The name of this service: the audience that its callers' tokens must name, and the caller that it is for others. */
  service: string;
  secret: string;
  /** Callers that may use this service, `agent-*` for a whole family; null admits every valid token (the public door). */
  allowedCallers: string[] | null;
}

const AUTH_OPTIONS = Symbol('AuthOptions');

/** Variable `BATON_INTERNAL_SECRET`: the secret that all services of a deployment share, at least 32 characters. */
export const internalSecret = makeValidator<string>((input) => {
  if (input.length < 32) throw new EnvError('at least 32 characters are wanted');
  return input;
});

/** Lets a route through without a token. */
export const Public = () => SetMetadata(PUBLIC_ROUTE, true);

const ALLOWED_CALLERS = 'baton:allowed-callers';

/** On a route or controller: these callers may use it, instead of the service's `allowedCallers`. */
export const AllowCallers = (...callers: string[]) => SetMetadata(ALLOWED_CALLERS, callers);

type AuthenticatedRequest = Request & { principal?: Principal };

/** The caller of the current request. */
export const Caller = createParamDecorator((_: unknown, context: ExecutionContext): Principal => {
  const principal = context.switchToHttp().getRequest<AuthenticatedRequest>().principal;
  if (!principal) throw new Error('No principal: is the route public?');
  return principal;
});

@Injectable()
export class TokenGuard implements CanActivate {
  constructor(
    @Inject(Tokens) private readonly tokens: Tokens,
    @Inject(AUTH_OPTIONS) private readonly options: AuthOptions,
    @Inject(Reflector) private readonly reflector: Reflector,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    if (this.reflector.getAllAndOverride<boolean>(PUBLIC_ROUTE, [context.getHandler(), context.getClass()]))
      return true;
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    const principal = this.tokens.verify(request.headers.authorization, this.options.service);
    const allowedCallers =
      this.reflector.getAllAndOverride<string[] | undefined>(ALLOWED_CALLERS, [
        context.getHandler(),
        context.getClass(),
      ]) ?? this.options.allowedCallers;
    if (allowedCallers && !allowedCallers.some((pattern) => isCaller(pattern, principal.caller)))
      throw new TerminalError('forbidden', `Caller ${principal.caller} may not use ${this.options.service}`, {
        status: 403,
      });
    request.principal = principal;
    return true;
  }
}

/** `pattern` is a caller's name, or the beginning of a family's names followed by `*`. */
function isCaller(pattern: string, caller: string): boolean {
  return pattern.endsWith('*') ? caller.startsWith(pattern.slice(0, -1)) : caller === pattern;
}

/** Guards every route of a service and gives it `Tokens` for its own calls. */
@Module({})
export class AuthModule {
  static forRoot(options: AuthOptions): DynamicModule {
    return {
      module: AuthModule,
      global: true,
      providers: [
        { provide: AUTH_OPTIONS, useValue: options },
        { provide: Tokens, useValue: new Tokens(options.secret, options.service) },
        { provide: APP_GUARD, useClass: TokenGuard },
      ],
      exports: [Tokens],
    };
  }
}
