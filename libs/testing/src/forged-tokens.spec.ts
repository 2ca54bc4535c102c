import { createPublicKey } from 'node:crypto';
import { TokenVerifier, unauthenticated } from '#libs/auth';
import { forgedTokens } from './forged-tokens.js';
import { TestSigner } from './test-signer.js';

const signer = new TestSigner('http://issuer.test');
const verifier = new TokenVerifier(
  {
    find: async (kid) => {
      if (kid !== signer.publicJwk.kid) throw unauthenticated('unknown');
      return createPublicKey(signer.pem);
    },
    ready: async () => undefined,
  },
  signer.issuer,
);
const RIGHT = { sub: 'ada', user: 'ada', tenant: 'acme', aud: 'a-service', scope: 'tasks:read' };

describe('a token', () => {
  it('without a fault is let in, so that each of the others is refused for its one', async () => {
    expect(await verifier.verify(`Bearer ${signer.sign(RIGHT)}`, 'a-service')).toMatchObject({
      caller: 'ada',
    });
  });

  it.each(forgedTokens(signer, RIGHT))('with a fault is refused: $fault', async ({ token }) => {
    await expect(
      verifier.verify(token === null ? undefined : `Bearer ${token}`, 'a-service'),
    ).rejects.toMatchObject({ code: 'unauthenticated', status: 401 });
  });
});
