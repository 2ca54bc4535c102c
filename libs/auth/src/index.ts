export { AllowCallers, AuthModule, Caller, internalSecret, Public } from './auth.module.js';
export { Tokens, type Principal } from './tokens.js';
