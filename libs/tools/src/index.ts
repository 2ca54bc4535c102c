export { TOOL_RULES } from './rules.js';
export { serveTools } from './serve-tools.js';
export { defineTool, type Tool, type ToolContext } from './tool.js';
export { ToolClient, type ToolCall } from './tool-client.js';
export { ToolFailure } from './tool-failure.js';
