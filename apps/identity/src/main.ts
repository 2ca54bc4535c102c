import { runService } from '#libs/chassis';
import service from './service.js';

void runService(service);
