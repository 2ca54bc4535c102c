import type { ToolDefinition } from '#libs/contracts';

/** A tool's version as the registry holds it. */
export interface RegisteredTool {
  definition: ToolDefinition;
  /** The service that registered it. */
  owner: string;
  /** Of everything that a version fixes; where the tool lives is not part of it. */
  hash: string;
}
