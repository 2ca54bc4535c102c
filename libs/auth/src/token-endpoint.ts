import { Agent, request } from 'undici';
import { messageOf, RetryableError, TerminalError } from '#libs/contracts';
import { unauthenticated } from './claims.js';

/** RFC 8693. */
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const ACCESS_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:access_token';
/** Baton's own: a key of `POST /api-keys`. */
export const API_KEY_TYPE = 'urn:baton:params:oauth:token-type:api-key';

export interface Credentials {
  /** Base URL of the identity service. */
  identityUrl: string;
  /** The name of the service. */
  clientId: string;
  clientSecret: string;
}

export interface IssuedToken {
  accessToken: string;
  /** Seconds. */
  expiresIn: number;
}

const TIMEOUT_MS = 5000;
const MAX_ANSWER_CHARS = 65_536;

/** `POST /oauth/token` of the identity service (RFC 6749, RFC 8693), as one client. */
export class TokenEndpoint {
  private readonly dispatcher = new Agent({ connections: 16, connectTimeout: 2000 });
  private readonly url: string;
  private readonly basic: string;

  constructor({ identityUrl, clientId, clientSecret }: Credentials) {
    this.url = `${identityUrl.replace(/\/+$/, '')}/oauth/token`;
    const [id, secret] = [encodeURIComponent(clientId), encodeURIComponent(clientSecret)];
    this.basic = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
  }

  /**
   * @throws RetryableError 503 `identity-unavailable`: identity is away, or does not know this client's secret, which is no fault of
   *   whoever asked this service
   * @throws TerminalError 401 `unauthenticated`: the subject's token or key does not count (any more); 403 `forbidden`: this client may
   *   not call the audience
   */
  async request(parameters: Record<string, string> | URLSearchParams): Promise<IssuedToken> {
    const { statusCode, text } = await this.post(new URLSearchParams(parameters).toString());
    if (statusCode >= 500 || statusCode === 429) throw unavailable(`it answered ${statusCode}`);
    const body = parse(text);
    if (statusCode === 200 && typeof body['access_token'] === 'string')
      return { accessToken: body['access_token'], expiresIn: Number(body['expires_in']) };
    if (body['error'] === 'invalid_client') throw unavailable('it does not take BATON_CLIENT_SECRET');
    const reason = `${String(body['error'])}: ${String(body['error_description'])}`;
    if (body['error'] === 'invalid_target')
      throw new TerminalError('forbidden', `identity refused a token (${reason})`, { status: 403 });
    throw unauthenticated(`identity refused a token (${reason})`);
  }

  async close(): Promise<void> {
    await this.dispatcher.destroy();
  }

  private async post(body: string): Promise<{ statusCode: number; text: string }> {
    try {
      const answer = await request(this.url, {
        method: 'POST',
        dispatcher: this.dispatcher,
        headers: { authorization: this.basic, 'content-type': 'application/x-www-form-urlencoded' },
        body,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const text = await answer.body.text();
      return { statusCode: answer.statusCode, text: text.slice(0, MAX_ANSWER_CHARS) };
    } catch (error) {
      throw unavailable(messageOf(error), error);
    }
  }
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw unavailable('its answer is not JSON');
  }
}

function unavailable(reason: string, cause?: unknown): RetryableError {
  return new RetryableError('identity-unavailable', `The identity service is not available: ${reason}`, {
    retryAfterMs: 1000,
    cause,
  });
}
