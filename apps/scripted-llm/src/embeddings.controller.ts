import { Body, Controller, HttpCode, Post, SetMetadata } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { featureHash } from '#libs/llm';
import { PUBLIC_ROUTE } from '#libs/telemetry';
import { countTokens } from './chat/tokens.js';
import { invalidRequest } from './openai-error.js';

const MAX_INPUTS = 2048;
const DEFAULT_DIMENSIONS = 384;

/** Feature-hash embeddings in OpenAI's form. */
@ApiTags('openai')
@SetMetadata(PUBLIC_ROUTE, true)
@Controller('v1/embeddings')
export class EmbeddingsController {
  @Post()
  @HttpCode(200)
  create(@Body() body: unknown) {
    const { inputs, dimensions, base64, model } = parse(body);
    const data = inputs.map((text, index) => {
      const vector = featureHash(text, dimensions);
      return { object: 'embedding', index, embedding: base64 ? toBase64(vector) : Array.from(vector) };
    });
    const tokens = inputs.reduce((sum, text) => sum + countTokens(text), 0);
    return { object: 'list', data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } };
  }
}

function parse(body: unknown) {
  const {
    input,
    dimensions = DEFAULT_DIMENSIONS,
    encoding_format: format = 'float',
    model = 'scripted',
  } = (body ?? {}) as Record<string, unknown>;
  const inputs: unknown[] = Array.isArray(input) ? input : [input];
  if (inputs.length === 0 || inputs.length > MAX_INPUTS)
    throw invalidRequest(`input must have 1 to ${MAX_INPUTS} texts`);
  if (!inputs.every((text): text is string => typeof text === 'string' && text !== ''))
    throw invalidRequest('input must be a text or a list of texts, none of them empty');
  if (typeof dimensions !== 'number' || !Number.isInteger(dimensions) || dimensions < 8 || dimensions > 4096)
    throw invalidRequest('dimensions must be a whole number from 8 to 4096');
  if (format !== 'float' && format !== 'base64')
    throw invalidRequest('encoding_format must be float or base64');
  return { inputs, dimensions, base64: format === 'base64', model };
}

/** OpenAI's base64: the little-endian float32 bytes, which is the byte order of every platform that Node runs on. */
function toBase64(vector: Float32Array): string {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');
}
