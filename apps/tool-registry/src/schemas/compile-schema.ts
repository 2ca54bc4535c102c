import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { RE2JS } from 're2js';
import type { FieldError, JsonSchema } from '#libs/contracts';

const MAX_ERRORS = 20;

/** Patterns run on RE2: linear time, whatever the input. */
const linearRegExp = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(pattern);
    return { test: (text: string) => compiled.matcher(text).find(), toString: () => `re2:${pattern}` };
  },
  { code: 'linearRegExp' },
);

// All errors at once: a model mends its arguments in one go. The work is bounded by the thread's time limit.
const ajv = new Ajv2020({
  allErrors: true,
  strictSchema: true,
  strictTypes: false,
  strictTuples: false,
  inlineRefs: false,
  ownProperties: true,
  logger: false,
  code: { regExp: linearRegExp as never },
});
(addFormats as unknown as (ajv: Ajv2020, options: { mode: 'fast' }) => void)(ajv, { mode: 'fast' });

/** Compiles a vetted schema (draft 2020-12). @throws Error when it is not a schema. */
export function compileSchema(schema: JsonSchema): ValidateFunction {
  try {
    return ajv.compile(schema);
  } finally {
    // Ajv remembers every schema; the caller keeps what it needs.
    ajv.removeSchema(schema);
  }
}

/** The errors of the last check; `field` is a dotted path below `root`, and no message holds a value of the data. */
export function fieldErrors(errors: ErrorObject[], root: string): FieldError[] {
  return errors.slice(0, MAX_ERRORS).map(({ instancePath, params, message, keyword }) => {
    const { missingProperty, additionalProperty, unevaluatedProperty, allowedValues } = params as Record<
      string,
      unknown
    >;
    const path = instancePath
      .split('/')
      .slice(1)
      .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
    const named = missingProperty ?? additionalProperty ?? unevaluatedProperty;
    const field = [root, ...path, ...(typeof named === 'string' ? [named] : [])].join('.');
    const allowed = keyword === 'enum' ? `: ${JSON.stringify(allowedValues).slice(0, 300)}` : '';
    return { field: field.slice(0, 300), message: `${message ?? keyword}${allowed}` };
  });
}
