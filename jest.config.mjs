const swc = {
  swcrc: false,
  sourceMaps: 'inline',
  module: { type: 'commonjs' },
  jsc: {
    target: 'es2022',
    keepClassNames: true,
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
  },
};

const project = (displayName, options) => ({
  displayName,
  testEnvironment: 'node',
  transform: { '^.+\\.[tj]s$': ['@swc/jest', swc] },
  transformIgnorePatterns: [
    '/node_modules/(?!(?:@nestjs|jose|content-disposition|@fastify/static/node_modules)/)',
  ],
  moduleNameMapper: { '^#libs/([^/]+)$': '<rootDir>/libs/$1/src/index.ts', '^(\\.{1,2}/.*)\\.js$': '$1' },
  ...options,
});

/** One Postgres and one Redis for all files, unless TEST_DATABASE_URL and TEST_REDIS_URL name some. */
const services = {
  globalSetup: '<rootDir>/libs/testing/jest/global-setup.mjs',
  globalTeardown: '<rootDir>/libs/testing/jest/global-teardown.mjs',
};

export default {
  // Says that a test hangs, not that a machine is busy.
  testTimeout: 30_000,
  // Integration tests share two cores with their own Postgres and Redis.
  maxWorkers: 2,
  projects: [
    project('unit', {
      roots: ['<rootDir>/apps', '<rootDir>/libs', '<rootDir>/bench'],
      testRegex: '(?<!\\.int)\\.spec\\.ts$',
    }),
    project('integration', {
      ...services,
      roots: ['<rootDir>/apps', '<rootDir>/libs'],
      testRegex: '\\.int\\.spec\\.ts$',
    }),
    project('handoff', { ...services, roots: ['<rootDir>/test/handoff'], testRegex: '\\.spec\\.ts$' }),
    project('conformance', { roots: ['<rootDir>/test/conformance'], testRegex: '\\.spec\\.ts$' }),
    project('e2e', { roots: ['<rootDir>/test/e2e'], testRegex: '\\.spec\\.ts$' }),
    project('chaos', { roots: ['<rootDir>/test/chaos'], testRegex: '\\.spec\\.ts$' }),
  ],
};
