import { isIP } from 'node:net';
import { EnvError, makeExactValidator } from 'envalid';

/** Names that Fastify knows. */
const NETWORKS = ['loopback', 'linklocal', 'uniquelocal'];

/** Reads `10.0.0.0/8,::1,loopback`. */
const proxies = makeExactValidator<string[]>((text) => {
  const parts = text.split(',').map((part) => part.trim());
  const found = parts.filter(Boolean);
  const wrong = found.filter((proxy) => !NETWORKS.includes(proxy) && !isNetwork(proxy));
  if (wrong.length > 0)
    throw new EnvError(
      `${wrong.join(', ')}: addresses, networks (10.0.0.0/8) or ${NETWORKS.join(', ')} are wanted`,
    );
  return found;
});

/** Of services that limit by their clients' addresses; give it to `ServiceDefinition.trustedProxies`. */
export const TRUSTED_PROXIES_CONFIG = {
  TRUSTED_PROXIES: proxies({
    default: [],
    desc: "Proxies whose X-Forwarded-For names the client: addresses and networks; default: nobody's",
  }),
};

function isNetwork(text: string): boolean {
  const [address = '', bits, more] = text.split('/');
  const version = isIP(address);
  const isPrefix =
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
  return version !== 0 && isPrefix && more === undefined;
}
