import type { Request } from 'express';

interface Layer {
  route?: { methods: Record<string, boolean>; path: unknown };
  match(path: string): boolean;
}

/** The methods that the application has for the request's path; empty when it has no such path. */
export function allowedMethods(request: Request): string[] {
  const layers = (request.app as unknown as { router: { stack: Layer[] } }).router.stack;
  const methods = layers
    .filter((layer) => layer.route && layer.match(request.path))
    .flatMap((layer) => Object.keys(layer.route!.methods))
    .map((method) => method.toUpperCase());
  return [...new Set(methods)].filter((method) => method !== '_ALL');
}
