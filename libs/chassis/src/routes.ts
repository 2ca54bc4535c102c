import type { FastifyInstance, FastifyRequest } from 'fastify';

interface Route {
  methods: string[];
  path: RegExp;
}

/** By the HTTP server: a request knows it. */
const routes = new WeakMap<object, Route[]>();

/** Keeps in mind which routes the application gets from now on, for `allowedMethods`. */
export function rememberRoutes(instance: FastifyInstance): void {
  const known: Route[] = [];
  routes.set(instance.server, known);
  instance.addHook('onRoute', ({ method, url }) => {
    known.push({ methods: [method].flat(), path: patternOf(url) });
  });
}

/** The methods that the application has for the request's path; empty when it has no such path. */
export function allowedMethods(request: FastifyRequest): string[] {
  const path = pathOf(request);
  const found = (routes.get(request.server.server) ?? []).filter((route) => route.path.test(path));
  return [...new Set(found.flatMap(({ methods }) => methods))];
}

/** The request's path, without its query, also of a request in absolute form (RFC 9112, section 3.2.2). */
export const pathOf = ({ url }: Pick<FastifyRequest, 'url'>): string =>
  /^(?:https?:\/\/[^/?#]*)?([^?#]*)/i.exec(url)![1]!;

/** `:name` is one segment, `*` the rest. */
function patternOf(url: string): RegExp {
  const source = url
    .replaceAll('.', '\\.')
    .replaceAll(/:[^/]+/g, '[^/]+')
    .replaceAll('*', '.*');
  return new RegExp(`^${source}/?$`);
}
