import type { Server } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Readiness } from '../health.js';

const LOOK_MS = 1000;

/** `grpc.health.v1`: the status of the server (empty name) and of each service follows the service's readiness. */
export class GrpcHealth {
  private readonly health = new HealthImplementation();
  private timer?: NodeJS.Timeout;
  private stopped = false;

  constructor(
    private readonly readiness: Readiness,
    private readonly services: string[],
  ) {
    this.tell(false);
  }

  addTo(server: Server): void {
    this.health.addToServer(server);
  }

  /** Looks once a second, the first time at once. */
  start(): void {
    const look = async (): Promise<void> => {
      const missing = await this.readiness.missing();
      if (this.stopped) return;
      this.tell(missing.length === 0);
      this.timer = setTimeout(() => void look(), LOOK_MS).unref();
    };
    void look();
  }

  /** The service is on its way out. */
  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    this.tell(false);
  }

  private tell(ready: boolean): void {
    for (const service of ['', ...this.services])
      this.health.setStatus(service, ready ? 'SERVING' : 'NOT_SERVING');
  }
}
