import { isIP } from 'node:net';
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Express } from 'express';
import { TerminalError } from '#libs/contracts';

/** Injection token: addresses and networks whose `X-Forwarded-For` counts. */
export const TRUSTED_PROXIES = Symbol('TrustedProxies');

/** Names that Express knows. */
const NETWORKS = ['loopback', 'linklocal', 'uniquelocal'];

/**
 * Reads `10.0.0.0/8,::1,loopback`.
 * @throws TerminalError `configuration`
 */
export function parseProxies(text: string): string[] {
  const proxies = text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
  const wrong = proxies.filter((proxy) => !NETWORKS.includes(proxy) && !isNetwork(proxy));
  if (wrong.length > 0)
    throw new TerminalError(
      'configuration',
      `Wrong configuration: TRUSTED_PROXIES: ${wrong.join(', ')}: addresses, networks (10.0.0.0/8) or ${NETWORKS.join(', ')} are wanted`,
    );
  return proxies;
}

function isNetwork(text: string): boolean {
  const [address = '', bits, more] = text.split('/');
  const version = isIP(address);
  const isPrefix =
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
  return version !== 0 && isPrefix && more === undefined;
}

/** Whose word on a client's address counts: nobody's but the listed proxies', as any client can send the header. */
@Injectable()
export class TrustedProxies implements OnModuleInit {
  constructor(
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(TRUSTED_PROXIES) private readonly proxies: string[],
  ) {}

  onModuleInit(): void {
    this.host.httpAdapter.getInstance<Express>().set('trust proxy', this.proxies);
  }
}
