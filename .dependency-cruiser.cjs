/** The direction rules of docs/architecture.md: libs look only down, apps never at each other, libs are entered by their door. */
const layers = [
  ['contracts'],
  ['telemetry'],
  ['chassis'],
  ['auth', 'database'],
  ['messaging'],
  ['llm'],
  ['tools'],
  ['agent'],
  ['devstack'],
  ['testing'],
];

const upward = layers.flatMap((names, level) =>
  names.map((name) => ({
    name: `${name}-looks-down`,
    severity: 'error',
    comment: `libs/${name} may only use the libs below it`,
    from: { path: `^libs/${name}/` },
    to: {
      path: `^libs/(${[...names.filter((other) => other !== name), ...layers.slice(level + 1).flat()].join('|') || 'none'})/`,
    },
  })),
);

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'apps-apart',
      severity: 'error',
      comment: 'Apps never import apps',
      from: { path: '^apps/((?:agents/|tools/)?[^/]+)/' },
      to: { path: '^apps/', pathNot: '^apps/$1/' },
    },
    { name: 'libs-not-apps', severity: 'error', from: { path: '^libs/' }, to: { path: '^apps/' } },
    {
      name: 'one-door',
      severity: 'error',
      comment: 'A lib is entered by its index.ts',
      from: { path: '^(apps|libs|bench|test)/((?:agents/|tools/)?[^/]+)/' },
      to: { path: '^libs/[^/]+/src/', pathNot: ['^libs/[^/]+/src/index\\.ts$', '^libs/$2/'] },
      // Inside a lib every file is a neighbour.
    },
    {
      name: 'agents-small',
      severity: 'error',
      comment: 'Agents import libs/agent and libs/contracts alone',
      from: { path: '^apps/agents/' },
      to: { path: '^libs/', pathNot: '^libs/(agent|contracts)/' },
    },
    ...upward,
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: ['^dist/', '^libs/contracts/src/gen/'] },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
