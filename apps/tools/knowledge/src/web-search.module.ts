import { Injectable, Module, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import { HttpClient } from '#libs/chassis';
import { webSearch, type WebSearchConfig } from './web-providers.js';

/** Injection token of the `WebSearch`. */
export const WEB_SEARCH = Symbol('WebSearch');

@Injectable()
class WebHttpClient extends HttpClient implements OnApplicationShutdown {
  onApplicationShutdown(): Promise<void> {
    return this.close();
  }
}

@Module({})
export class WebSearchModule {
  static register(config: WebSearchConfig): DynamicModule {
    return {
      module: WebSearchModule,
      providers: [
        { provide: WebHttpClient, useFactory: () => new WebHttpClient({ connections: 8 }) },
        {
          provide: WEB_SEARCH,
          inject: [WebHttpClient],
          useFactory: (http: WebHttpClient) => webSearch(config, http),
        },
      ],
      exports: [WEB_SEARCH],
    };
  }
}
