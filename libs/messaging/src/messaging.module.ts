import { BullModule } from '@nestjs/bullmq';
import { Module, type DynamicModule } from '@nestjs/common';
import { Channels } from './channels.js';
import { reconnect, RedisConnections, REDIS_URL } from './redis.js';

/** Redis for a service: `RedisConnections`, and BullMQ (whose workers wait for Redis as long as it takes). */
@Module({})
export class MessagingModule {
  static forRoot(url: string): DynamicModule {
    return {
      module: MessagingModule,
      global: true,
      imports: [
        BullModule.forRoot({ connection: { url, maxRetriesPerRequest: null, retryStrategy: reconnect } }),
      ],
      providers: [{ provide: REDIS_URL, useValue: url }, RedisConnections, Channels],
      exports: [REDIS_URL, RedisConnections, Channels],
    };
  }
}
