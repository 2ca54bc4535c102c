import { urlOf, type HostRecord } from './stack.js';

interface Facts {
  title: string;
  host: Pick<HostRecord, 'services' | 'scripted'>;
  databaseUrl: string;
  redisUrl: string;
  /** Null: the stack has none, and nothing is said. */
  kafkaBrokers: string | null;
  schemaRegistryUrl: string | null;
  token: string;
}

/** What `up` prints. */
export function summary(facts: Facts): string {
  const { title, host, databaseUrl, redisUrl, kafkaBrokers, schemaRegistryUrl, token } = facts;
  const rows: Array<[string, string]> = [
    ...host.services.map(({ name, url }): [string, string] => [name, url]),
    ['postgres', withoutPassword(databaseUrl)],
    ['redis', withoutPassword(redisUrl)],
  ];
  if (kafkaBrokers) rows.push(['kafka', kafkaBrokers]);
  if (schemaRegistryUrl) rows.push(['schema-registry', withoutPassword(schemaRegistryUrl)]);
  const width = Math.max(...rows.map(([name]) => name.length));
  const model = host.scripted
    ? [
        '',
        'The scripted model answers, not a real one. For a real one set OPENAI_API_KEY or OPENAI_BASE_URL, and BATON_MODEL.',
      ]
    : [];
  return [
    title,
    ...rows.map(([name, url]) => `  ${name.padEnd(width)}  ${url}`),
    ...model,
    '',
    'Try, with a token for development, valid for 24 hours:',
    `TOKEN=${token}`,
    curlLine(urlOf(host, 'gateway')),
    '',
  ].join('\n');
}

/** One line for a POSIX shell that has `TOKEN`. */
export function curlLine(gateway: string): string {
  const body = JSON.stringify({ prompt: 'How does Baton survive a crash of its worker?' });
  return `curl -sS ${gateway}/v1/agents/search/run -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '${body}'`;
}

export function withoutPassword(address: string): string {
  if (!URL.canParse(address)) return address;
  const url = new URL(address);
  if (url.password) url.password = '***';
  return url.href;
}
