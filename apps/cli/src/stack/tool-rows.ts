import { HttpClient } from '#libs/chassis';
import type { ListedTool } from '#libs/contracts';
import { developerToken } from '../identity/developer.js';
import { urlOf, type HostRecord, type Stack } from './stack.js';
import { hostOf, up, type StatusRow } from './status-row.js';

/** All registered tools; none while the registry or identity does not answer, which its own line says. */
export async function registeredTools(
  stack: Stack,
  host: Pick<HostRecord, 'services'>,
): Promise<ListedTool[]> {
  const http = new HttpClient({ connections: 1 });
  try {
    const headers = { authorization: `Bearer ${await developerToken(stack, host)}` };
    const { body } = await http.json<{ tools: ListedTool[] }>(`${urlOf(host, 'tool-registry')}/tools`, {
      headers,
      timeoutMs: 3000,
    });
    return body.tools;
  } catch {
    return [];
  } finally {
    await http.close();
  }
}

/** A line for each tool service as the registry sees it: those that `hosted` does not name, and those that it cannot reach. */
export function toolRows(tools: ListedTool[], hosted: string[]): StatusRow[] {
  const urls = [...new Set(tools.map(({ health_url }) => health_url))];
  return urls
    .map((url) => tools.filter(({ health_url }) => health_url === url))
    .filter(([one]) => !hosted.includes(one!.service) || one!.health.state === 'down')
    .map((group) => {
      const { service, health_url, health } = group[0]!;
      const address = hostOf(health_url);
      if (health.state === 'up') return up(service, address);
      const names = group.map(({ name }) => name).join(', ');
      return {
        name: service,
        address,
        state: health.state === 'down' ? 'down' : 'not ready',
        cause: `for the registry (${names}): ${health.cause ?? 'not asked yet'}`,
        fix: hosted.includes(service)
          ? './baton down && ./baton up'
          : `start it, so that ${health_url} answers`,
      };
    });
}
