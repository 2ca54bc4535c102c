import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { RegisteredTool } from './registered-tool.js';
import { ToolsRepository } from './tools.repository.js';
import { newestVersion } from './versions.js';

const REFRESH_MS = 2000;

/** All tools, in memory: what others register is seen within 2 s, and a missing one is looked up before it counts as missing. */
@Injectable()
export class Catalogue implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly tools = new Map<string, Map<string, RegisteredTool>>();
  private readonly newest = new Map<string, RegisteredTool>();
  private revision = '0';
  private refreshing?: Promise<void>;
  private timer?: NodeJS.Timeout;
  private stale = false;

  constructor(
    @Inject(ToolsRepository) private readonly repository: ToolsRepository,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => void this.refreshQuietly(), REFRESH_MS).unref();
    void this.refreshQuietly();
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer);
  }

  /** Reads what changed; concurrent callers share one read. @throws RetryableError when Postgres is away. */
  refresh(): Promise<void> {
    this.refreshing ??= this.read().finally(() => (this.refreshing = undefined));
    return this.refreshing;
  }

  /**
   * @param version the newest when undefined.
   * @throws TerminalError 404 `tool-not-found`, `tool-version-not-found`; RetryableError when that cannot be known now.
   */
  async require(name: string, version?: string): Promise<RegisteredTool> {
    const known = this.find(name, version);
    if (known) return known;
    await this.refresh();
    const found = this.find(name, version);
    if (found) return found;
    if (this.tools.has(name))
      throw new TerminalError('tool-version-not-found', `${name} has no version ${version}`, { status: 404 });
    throw new TerminalError('tool-not-found', `There is no tool ${name}`, { status: 404 });
  }

  /** The newest version of every tool, by name. @throws RetryableError when nothing was ever read. */
  async all(): Promise<RegisteredTool[]> {
    if (this.revision === '0') await this.refresh();
    return [...this.newest.values()].sort((a, b) => (a.definition.name < b.definition.name ? -1 : 1));
  }

  versionsOf(name: string): string[] {
    return [...(this.tools.get(name)?.keys() ?? [])];
  }

  private find(name: string, version?: string): RegisteredTool | undefined {
    return version === undefined ? this.newest.get(name) : this.tools.get(name)?.get(version);
  }

  private async read(): Promise<void> {
    const { tools, revision } = await this.repository.changedSince(this.revision);
    for (const tool of tools) this.remember(tool);
    this.revision = revision;
  }

  private remember(tool: RegisteredTool): void {
    const { name, version } = tool.definition;
    const versions = this.tools.get(name) ?? new Map<string, RegisteredTool>();
    this.tools.set(name, versions.set(version, tool));
    const newest = newestVersion([...versions.keys()])!;
    this.newest.set(name, versions.get(newest)!);
  }

  private async refreshQuietly(): Promise<void> {
    try {
      await this.refresh();
      this.stale = false;
    } catch (error) {
      if (!this.stale) this.logger.warn({ err: messageOf(error) }, 'catalogue not refreshed');
      this.stale = true;
    }
  }
}
