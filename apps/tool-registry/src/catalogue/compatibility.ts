import type { JsonSchema, ToolDefinition } from '#libs/contracts';
import { compareVersions, parseVersion } from './versions.js';

/** The newest version before `version` with the same major number, which `version` must not break; undefined when it is the first. */
export function predecessorOf<T extends { version: string }>(version: string, published: T[]): T | undefined {
  const { major } = parseVersion(version);
  return published
    .filter(
      (other) => parseVersion(other.version).major === major && compareVersions(other.version, version) < 0,
    )
    .toSorted((a, b) => compareVersions(a.version, b.version))
    .at(-1);
}

/**
 * Why calls made for `before` could fail with `after`; null when none can. Looks at the top level of the parameters,
 * which is what a model is told: nothing newly required, nothing removed.
 */
export function breakingChange(before: ToolDefinition, after: ToolDefinition): string | null {
  const [known, now] = [propertiesOf(before.parameters), propertiesOf(after.parameters)];
  const removed = [...known].filter((name) => !now.has(name));
  const required = requiredOf(after.parameters).filter(
    (name) => !requiredOf(before.parameters).includes(name),
  );
  const reasons = [
    ...(removed.length > 0 ? [`removes parameters ${removed.join(', ')}`] : []),
    ...(required.length > 0 ? [`newly requires ${required.join(', ')}`] : []),
  ];
  if (reasons.length === 0) return null;
  return `${after.version} ${reasons.join(' and ')} compared with ${before.version}: publish a new major version`;
}

const propertiesOf = (schema: JsonSchema) =>
  new Set(Object.keys((schema['properties'] as object | undefined) ?? {}));
const requiredOf = (schema: JsonSchema) =>
  Array.isArray(schema['required']) ? (schema['required'] as string[]) : [];
