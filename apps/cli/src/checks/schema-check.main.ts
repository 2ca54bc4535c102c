import { checkSchemas } from './schema-check.js';

process.exitCode = checkSchemas(process.argv[2]!);
