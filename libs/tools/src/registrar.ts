import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Tokens } from '#libs/auth';
import { backoffMs, HttpClient, LOGGER, Readiness } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { definitionOf, type Tool } from './tool.js';
import { TOOLS } from './tools.controller.js';

export const REGISTRAR_OPTIONS = Symbol('RegistrarOptions');

export interface RegistrarOptions {
  registryUrl: string;
  serviceUrl: string | null;
}

/** Registering is repeated at this pace, so that a registry that lost its database learns of the tools again. */
const RENEW_MS = 30_000;
/** The first attempt waits until the server listens. */
const FIRST_ATTEMPT_MS = 20;

/** Publishes a service's tools to the registry, in the background, for as long as the service lives. */
@Injectable()
export class ToolRegistrar implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly http = new HttpClient({ connections: 2 });
  private timer?: NodeJS.Timeout;
  private closed = false;
  private failures = 0;
  /** Why the tools are not registered; null once they are. */
  private missing: string | null = 'not registered yet';

  constructor(
    @Inject(TOOLS) private readonly tools: Tool[],
    @Inject(REGISTRAR_OPTIONS) private readonly options: RegistrarOptions,
    @Inject(Tokens) private readonly tokens: Tokens,
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(Readiness) readiness: Readiness,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    readiness.add({
      name: 'registered',
      check: () => (this.missing === null ? Promise.resolve() : Promise.reject(new Error(this.missing))),
      fix: 'start the tool registry, or correct TOOL_REGISTRY_URL; what it refuses: correct defineTool, raise its version, restart',
    });
  }

  onApplicationBootstrap(): void {
    this.schedule(FIRST_ATTEMPT_MS);
  }

  async onApplicationShutdown(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.http.close();
  }

  private schedule(ms: number): void {
    if (!this.closed) this.timer = setTimeout(() => void this.registerAll(), ms).unref();
  }

  private async registerAll(): Promise<void> {
    try {
      for (const tool of this.tools)
        await this.register(tool).catch((error: unknown) => {
          throw refusalOf(tool, error);
        });
      if (this.missing !== null) this.logger.info({ tools: this.tools.length }, 'tools registered');
      this.missing = null;
      this.failures = 0;
      this.schedule(RENEW_MS);
    } catch (error) {
      this.failed(error);
    }
  }

  private async register(tool: Tool): Promise<void> {
    await this.http.json(`${this.options.registryUrl}/tools`, {
      method: 'POST',
      headers: {
        authorization: await this.tokens.authorization('tool-registry'),
      },
      body: definitionOf(tool, this.options.serviceUrl ?? this.listeningUrl()),
      timeoutMs: 5000,
    });
  }

  private failed(error: unknown): void {
    if (this.closed) return;
    const cause = messageOf(error);
    // Known tools stay callable while the registry is away; only its refusal is news.
    const refused = error instanceof TerminalError;
    if (refused || this.missing !== null) {
      if (cause !== this.missing)
        this.logger[refused ? 'error' : 'warn']({ err: cause }, 'tools not registered');
      this.missing = cause;
    }
    this.schedule(backoffMs(this.failures++, { baseMs: 250, maxMs: refused ? RENEW_MS : 5000 }));
  }

  private listeningUrl(): string {
    const server = this.host.httpAdapter.getHttpServer() as Server;
    const address = server.address() as AddressInfo | null;
    if (!address) throw new Error('the service does not listen yet');
    return `http://127.0.0.1:${address.port}`;
  }
}

/** The registry's refusal with the tool and every wrong field; anything else as it is. */
export function refusalOf({ name, version }: Pick<Tool, 'name' | 'version'>, error: unknown): unknown {
  if (!(error instanceof TerminalError)) return error;
  const { code, message, status, errors } = error;
  const why = code === 'validation' && errors ? errors.map((one) => one.message).join('; ') : message;
  const text = why.startsWith(name) ? why : `${name}@${version}: ${why}`;
  return new TerminalError(code, text, { status, errors, cause: error });
}
