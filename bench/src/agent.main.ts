import { startAgent } from '#libs/agent';
import { benchAgent } from './bench.agent.js';
import { SPAWNED_AGENT } from './stack.js';

void startAgent(benchAgent(SPAWNED_AGENT));
