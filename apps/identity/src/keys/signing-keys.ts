import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { JWK } from 'jose';
import { unauthenticated, type IssuerKeys } from '#libs/auth';
import { LOGGER, Readiness } from '#libs/chassis';
import { messageOf, RetryableError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { generatePair, pairOf, type KeyPair } from './key-pair.js';
import { KeyVault } from './key-vault.js';
import { KeysRepository, MAX_KEYS, type NewKey, type StoredKey } from './keys.repository.js';

export const KEY_OPTIONS = Symbol('KeyOptions');

export interface KeyOptions {
  secret: string;
  signingKey: string | null;
  rotationHours: number;
  /** See `keepSecondsOf`. */
  keepSeconds: number;
}

interface LiveKey {
  kid: string;
  privateKey: KeyObject;
  publicKey: KeyObject;
  publicJwk: JWK;
  /** Milliseconds since the epoch; null for the next key. */
  signsAt: number | null;
}

/** Shorter than the time for which the next key is published before it may sign. */
const REFRESH_MS = 5000;
const MAINTAIN_MS = 60_000;
const LOOK_UP_MS = 1000;

/**
 * The keys that sign: always the current one and the next, both published, and retired ones as long as their tokens may come.
 * They are kept in memory, so that tokens are issued while Postgres is away.
 */
@Injectable()
export class SigningKeys implements IssuerKeys, OnApplicationBootstrap, OnApplicationShutdown {
  private readonly vault: KeyVault;
  private keys = new Map<string, LiveKey>();
  private cause = 'not read yet';
  private readAt = 0;
  private refreshing?: Promise<void>;
  private timers: NodeJS.Timeout[] = [];

  constructor(
    @Inject(KEY_OPTIONS) private readonly options: KeyOptions,
    @Inject(KeysRepository) private readonly repository: KeysRepository,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(Readiness) readiness: Readiness,
  ) {
    this.vault = new KeyVault(options.secret);
    readiness.add({
      name: 'signing-keys',
      check: () => this.ready(),
      fix: 'start Postgres; or give the IDENTITY_KEY_SECRET with which the keys were stored',
    });
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.quietly(() => this.refresh());
    this.timers = [
      setInterval(() => void this.quietly(() => this.refresh()), REFRESH_MS),
      setInterval(() => void this.quietly(() => this.maintain()), MAINTAIN_MS),
    ];
    for (const timer of this.timers) timer.unref();
  }

  onApplicationShutdown(): void {
    this.timers.forEach(clearInterval);
  }

  async ready(): Promise<void> {
    if (this.keys.size === 0) await this.quietly(() => this.refresh());
    this.current();
  }

  /** The key that signs now. @throws RetryableError 503 `keys-unavailable` */
  current(): Pick<LiveKey, 'kid' | 'privateKey'> {
    const now = Date.now();
    const signing = [...this.keys.values()].filter(({ signsAt }) => signsAt !== null && signsAt <= now);
    const newest = signing.toSorted((a, b) => a.signsAt! - b.signsAt!).at(-1);
    if (!newest) throw this.unavailable();
    return newest;
  }

  /** The public keys, as JWKs. @throws RetryableError 503 `keys-unavailable` */
  published(): JWK[] {
    if (this.keys.size === 0) throw this.unavailable();
    return [...this.keys.values()].map(({ publicJwk }) => publicJwk);
  }

  async find(kid: string): Promise<KeyObject> {
    const known = this.keys.get(kid);
    if (known) return known.publicKey;
    // Another instance may have made it.
    if (Date.now() - this.readAt > LOOK_UP_MS) await this.refresh();
    const found = this.keys.get(kid);
    if (!found) throw unauthenticated('The token is not valid: its key is not known');
    return found.publicKey;
  }

  /**
   * The next key signs from now on, or 10 s after it was made; a new one takes its place.
   * @throws RetryableError 429 `too-many-keys` while as many as may be are published; 503 without Postgres
   */
  async rotate(): Promise<{ current: string; next: string }> {
    const moved = await this.repository.rotate(this.sealed(await generatePair()), 0);
    await this.refresh();
    if (!moved && this.keys.size >= MAX_KEYS)
      throw new RetryableError(
        'too-many-keys',
        `${MAX_KEYS} keys are published, and tokens of each may come`,
        {
          status: 429,
        },
      );
    this.logger.info('signing key rotated');
    const next = [...this.keys.values()].find(({ signsAt }) => signsAt === null)!.kid;
    return { current: this.current().kid, next };
  }

  private async maintain(): Promise<void> {
    if (await this.repository.isDue(this.options.rotationHours))
      if (await this.repository.rotate(this.sealed(await generatePair()), this.options.rotationHours))
        this.logger.info('signing key rotated on schedule');
    await this.repository.prune(this.options.keepSeconds);
    await this.refresh();
  }

  private refresh(): Promise<void> {
    this.refreshing ??= this.read().finally(() => (this.refreshing = undefined));
    return this.refreshing;
  }

  private async read(): Promise<void> {
    let stored = await this.repository.all();
    if (stored.length === 0) {
      const { signingKey } = this.options;
      const first = await (signingKey ? pairOf(signingKey) : generatePair());
      await this.repository.begin(this.sealed(first), this.sealed(await generatePair()));
      stored = await this.repository.all();
    }
    this.keys = new Map(stored.map((key) => [key.kid, this.live(key)]));
    this.readAt = Date.now();
  }

  private live({ kid, publicJwk, sealed, signsInMs }: StoredKey): LiveKey {
    const signsAt = signsInMs === null ? null : Date.now() + signsInMs;
    const known = this.keys.get(kid);
    if (known) return { ...known, signsAt };
    const privateKey = createPrivateKey(this.vault.open(kid, sealed));
    return { kid, privateKey, publicKey: createPublicKey(privateKey), publicJwk, signsAt };
  }

  private sealed({ kid, publicJwk, pem }: KeyPair): NewKey {
    return { kid, publicJwk, sealed: this.vault.seal(kid, pem) };
  }

  private async quietly(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.cause = 'there are none';
    } catch (error) {
      const cause = messageOf(error);
      if (cause !== this.cause) this.logger.warn({ err: cause }, 'signing keys not read');
      this.cause = cause;
    }
  }

  private unavailable(): RetryableError {
    return new RetryableError('keys-unavailable', `The signing keys are not available: ${this.cause}`, {
      retryAfterMs: 1000,
    });
  }
}
