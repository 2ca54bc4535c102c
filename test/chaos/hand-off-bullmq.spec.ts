import { killedAnywhere } from './hand-off.suite.js';

jest.setTimeout(240_000);

killedAnywhere('BullMQ', async () => ({ env: {}, stop: async () => undefined }));
