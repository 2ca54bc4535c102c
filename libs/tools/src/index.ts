export { TOOL_RULES } from './rules.js';
export { serveTools, type ServeToolsOptions } from './serve-tools.js';
export { defineTool, definitionOf, type Tool, type ToolContext, type ToolSpec } from './tool.js';
export { ToolClient, type ToolCall, type ToolSummary } from './tool-client.js';
export { ToolFailure } from './tool-failure.js';
