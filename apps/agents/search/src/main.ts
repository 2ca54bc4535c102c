import { startAgent } from '#libs/agent';
import searchAgent from './search.agent.js';

void startAgent(searchAgent);
