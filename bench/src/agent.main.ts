import { startAgent } from '#libs/agent';
import benchAgent from './bench.agent.js';

void startAgent(benchAgent);
