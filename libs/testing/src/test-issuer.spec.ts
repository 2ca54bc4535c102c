import { decodeJwt } from 'jose';
import { TestIssuer } from './test-issuer.js';

describe('a token of the stand-in', () => {
  let issuer: TestIssuer;
  beforeAll(async () => (issuer = await TestIssuer.start()));
  afterAll(() => issuer.stop());

  const exchanged = async (client: string, token: string): Promise<string> => {
    const tokens = issuer.tokens(client);
    const subject = { tenant: 'acme', userId: 'ada', scopes: [], token };
    const header = await tokens.authorization('next', subject);
    await tokens.onApplicationShutdown();
    return header.slice('Bearer '.length);
  };

  it('says since when it is a delegation, as those of the identity service do, through all exchanges', async () => {
    const exp = Math.floor(Date.now() / 1000) - 100;
    const own = issuer.signer.sign({ sub: 'ada', user: 'ada', tenant: 'acme', aud: 'first', exp });
    expect(decodeJwt(own)).not.toHaveProperty('auth_time');
    const first = await exchanged('first', own);
    expect(decodeJwt(first)).toMatchObject({ act: { sub: 'first' }, auth_time: exp });
    const second = await exchanged('second', first);
    expect(decodeJwt(second)).toMatchObject({
      act: { sub: 'second', act: { sub: 'first' } },
      auth_time: exp,
    });
  });
});
