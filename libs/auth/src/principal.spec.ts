import { hasScope, isAllowed, isService, onlyUserOf, type Principal } from './principal.js';

const person: Principal = {
  caller: 'ada',
  actors: [],
  tenant: 'acme',
  userId: 'ada',
  scopes: ['tasks:read'],
  token: 't',
};
const service: Principal = { ...person, caller: 'gateway', userId: null };
const onBehalf: Principal = { ...person, caller: 'gateway', actors: ['gateway'] };
const tenantKey: Principal = { ...person, caller: 'tenant:acme', userId: null };

describe('who may call', () => {
  it.each<[string, Principal, string[], boolean]>([
    ['a service', service, ['gateway'], true],
    ['a service for a person', onBehalf, ['gateway'], true],
    ['a service of a family', { ...service, caller: 'agent-x' }, ['agent-*'], true],
    ['another service', { ...service, caller: 'agent-x' }, ['gateway', 'agentless-*'], false],
    ['a person', person, ['user:ada'], true],
    ['a person among all', person, ['user:*'], true],
    ['a person who is not named', person, ['user:eve', 'ada'], false],
    [
      'a person with the name of a service',
      { ...person, caller: 'gateway', userId: 'gateway' },
      ['gateway'],
      false,
    ],
    ['a service with the name of a person', { ...service, caller: 'ada' }, ['user:ada'], false],
    ['a tenant', tenantKey, ['tenant:*'], true],
    ['a tenant where services belong', tenantKey, ['gateway', 'agent-*', 'user:*'], false],
    ['nobody', service, [], false],
  ])('%s', (_, principal, allowed, may) => {
    expect(isAllowed(principal, allowed)).toBe(may);
  });
});

describe('who is a service', () => {
  it.each<[string, Principal, boolean]>([
    ['who acts for a person', onBehalf, true],
    ['who acts for a tenant', { ...tenantKey, caller: 'gateway', actors: ['gateway'] }, true],
    ['who calls without a user', service, true],
    ['a person', person, false],
    [
      'a person with the name of a service',
      { ...person, caller: 'agent-search', userId: 'agent-search' },
      false,
    ],
    ['a tenant', tenantKey, false],
    ['a tenant with the name of a service', { ...tenantKey, caller: 'tenant:agent-search' }, false],
  ])('%s: %#', (_, principal, is) => {
    expect(isService(principal)).toBe(is);
  });
});

describe('scopes', () => {
  it('admin implies the others', () => {
    expect(hasScope({ scopes: ['admin'] }, 'tasks:write')).toBe(true);
    expect(hasScope({ scopes: ['tasks:read'] }, 'tasks:write')).toBe(false);
    expect(hasScope({ scopes: ['tasks:write'] }, 'admin')).toBe(false);
  });

  it('a user sees the own tasks, an administrator and a tenant see all', () => {
    expect(onlyUserOf(person)).toBe('ada');
    expect(onlyUserOf({ ...person, scopes: ['admin'] })).toBeNull();
    expect(onlyUserOf(tenantKey)).toBeNull();
  });
});
