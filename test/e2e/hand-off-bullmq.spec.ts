import { handOffSuite } from './hand-off.suite.js';

jest.setTimeout(120_000);

handOffSuite('BullMQ', async () => ({ env: {}, stop: async () => undefined }));
