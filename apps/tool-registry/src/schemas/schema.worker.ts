import { parentPort } from 'node:worker_threads';
import type { ValidateFunction } from 'ajv/dist/2020.js';
import { messageOf, type FieldError } from '#libs/contracts';
import { compileSchema, fieldErrors } from './compile-schema.js';
import { vetSchema } from './vet-schema.js';

/** Vet a schema, or check a value. `schema` comes with the first check of `key` only. */
export type SchemaJob =
  | { op: 'vet'; schema: unknown }
  | { op: 'check'; key: string; schema?: unknown; value: unknown; root: string };

/** `rejected`: why the schema is not taken; `errors`: what is wrong with the value, empty when nothing is. */
export type SchemaAnswer = { rejected: string } | { errors: FieldError[] };

const compiled = new Map<string, ValidateFunction>();

function vet(schema: unknown): ValidateFunction {
  vetSchema(schema);
  return compileSchema(schema);
}

function perform(job: SchemaJob): SchemaAnswer {
  try {
    if (job.op === 'vet') {
      vet(job.schema);
      return { errors: [] };
    }
    let validate = compiled.get(job.key);
    if (!validate) compiled.set(job.key, (validate = vet(job.schema)));
    return { errors: validate(job.value) ? [] : fieldErrors(validate.errors ?? [], job.root) };
  } catch (error) {
    return { rejected: messageOf(error).slice(0, 500) };
  }
}

// Compiling the meta-schema takes most of a first compilation; it is paid before the clock runs.
compileSchema({
  type: 'object',
  properties: { warm: { type: 'string', pattern: '^up$', format: 'date-time' } },
});
parentPort!.on('message', (jobs: SchemaJob[]) => {
  // One answer for each: the clock on the other side runs for the job at the head of the line.
  for (const job of jobs) parentPort!.postMessage(perform(job));
});
parentPort!.postMessage('ready');
