import { Type } from 'class-transformer';
import { Allow, IsInt, IsString, Max, MaxLength, ValidateNested } from 'class-validator';
import type { BatonError } from '#libs/contracts';
import { OpaqueFieldsPipe, RequestValidationPipe } from './validation.js';

class Inner {
  @IsString() name: string;
}
class Dto {
  @IsString() @MaxLength(3) text: string;
  @IsInt() @Max(5) count: number;
  @ValidateNested() @Type(() => Inner) inner: Inner;
}
class Call {
  @IsString() tool: string;
  @Allow() params: unknown;
}

const refusal = async (work: Promise<unknown>): Promise<BatonError> =>
  work.then(
    () => {
      throw new Error('it was accepted');
    },
    (error: unknown) => error as BatonError,
  );
const validate = (body: unknown) =>
  new RequestValidationPipe().transform(body, { type: 'body', metatype: Dto });

describe('validation of requests', () => {
  it('accepts what the class describes', async () => {
    const body = { text: 'abc', count: 5, inner: { name: 'x' } };
    expect(await validate(body)).toEqual(body);
  });

  it('names every wrong, missing and unknown field at once, with its path', async () => {
    const error = await refusal(validate({ text: 'abcd', inner: { name: 1, more: 2 }, unknown: true }));
    expect(error).toMatchObject({ code: 'validation', status: 400 });
    const fields = error.errors!.map(({ field }) => field);
    expect(new Set(fields)).toEqual(new Set(['text', 'count', 'inner.name', 'inner.more', 'unknown']));
  });

  it('coerces nothing', async () => {
    const error = await refusal(validate({ text: 1, count: '5', inner: { name: 'x' } }));
    // Of several broken rules, the type.
    expect(error.errors).toEqual([
      { field: 'text', message: 'text must be a string' },
      { field: 'count', message: 'count must be an integer number' },
    ]);
  });

  it('wants a body where one is declared', async () => {
    expect(await refusal(validate(undefined))).toMatchObject({ code: 'malformed-request', status: 400 });
  });
});

describe('opaque fields', () => {
  const pipe = new OpaqueFieldsPipe(Call, ['params']);

  it.each([[{ deep: { constructorLike: [1, { a: null }] } }], [[1, 2]], ['text'], [null]])(
    'come through as they are (%#)',
    async (params) => {
      const valid = (await pipe.transform({ tool: 'x', params })) as Call;
      expect(valid.params).toBe(params);
    },
  );

  it.each(['{"__proto__": {}, "tool": 1}', '{"constructor": {}, "tool": 1}', '{"toString": 1}'])(
    'do not let %s through',
    async (body) => {
      const error = await refusal(pipe.transform(JSON.parse(body) as Record<string, unknown>));
      expect(error).toMatchObject({ code: 'validation' });
    },
  );

  it('do not keep the others from being checked', async () => {
    expect(await refusal(pipe.transform({ tool: 1, params: {} }))).toMatchObject({ code: 'validation' });
  });
});
