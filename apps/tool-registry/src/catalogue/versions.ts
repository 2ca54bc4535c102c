import { TOOL_RULES } from '#libs/tools';

export interface Version {
  major: number;
  minor: number;
  patch: number;
  /** Identifiers of a pre-release, empty for a release. */
  pre: string[];
}

export function parseVersion(text: string): Version {
  const match = TOOL_RULES.version.exec(text);
  if (!match) throw new TypeError(`${text} is not a semantic version`);
  const [, major, minor, patch, pre] = match;
  return { major: Number(major), minor: Number(minor), patch: Number(patch), pre: pre?.split('.') ?? [] };
}

/** Precedence as in Semantic Versioning 2.0.0, item 11: negative when `a` comes before `b`. */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [parseVersion(a), parseVersion(b)];
  return x.major - y.major || x.minor - y.minor || x.patch - y.patch || comparePre(x.pre, y.pre);
}

function comparePre(a: string[], b: string[]): number {
  if (a.length === 0 || b.length === 0) return b.length - a.length;
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [x, y] = [a[i], b[i]];
    if (x === undefined || y === undefined) return x === undefined ? -1 : 1;
    if (x !== y) return compareIdentifiers(x, y);
  }
  return 0;
}

function compareIdentifiers(a: string, b: string): number {
  const [x, y] = [/^\d+$/.test(a), /^\d+$/.test(b)];
  if (x && y) return Number(a) - Number(b);
  if (x !== y) return x ? -1 : 1;
  return a < b ? -1 : 1;
}

/** The version that is used when none is asked for: the newest release, or the newest pre-release when there is no release. */
export function newestVersion(versions: string[]): string | undefined {
  const sorted = versions.toSorted(compareVersions);
  return sorted.findLast((version) => parseVersion(version).pre.length === 0) ?? sorted.at(-1);
}
