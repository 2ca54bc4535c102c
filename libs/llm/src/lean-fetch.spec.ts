import type { Dispatcher } from 'undici';
import { leanFetch, type ByteSource } from './lean-fetch.js';

/** A dispatcher that answers 200 at once; what follows, the test says. */
async function answered() {
  let handler!: Required<Dispatcher.DispatchHandler>;
  const abort = jest.fn();
  const controller = { abort } as unknown as Dispatcher.DispatchController;
  const dispatch = (_: unknown, given: Dispatcher.DispatchHandler) => {
    handler = given as typeof handler;
    handler.onRequestStart(controller, {});
    handler.onResponseStart(controller, 200, {}, 'OK');
    return true;
  };
  const { body } = await leanFetch({ dispatch } as unknown as Dispatcher)('http://model.test/v1');
  return { handler, controller, abort, body: body as unknown as ByteSource };
}

describe('the body of an answer', () => {
  it('that ended before it was read is whole', async () => {
    const { handler, controller, body } = await answered();
    handler.onResponseData(controller, Buffer.from('a'));
    handler.onResponseData(controller, Buffer.from('b'));
    handler.onResponseEnd(controller, {});
    const chunks: string[] = [];
    await body.read((chunk) => void chunks.push(chunk.toString()));
    expect(chunks).toEqual(['a', 'b']);
  });

  it('that broke off before it was read fails', async () => {
    const { handler, controller, body } = await answered();
    handler.onResponseError(controller, new Error('cut'));
    await expect(body.read(() => undefined)).rejects.toThrow('cut');
  });

  it('fails with what its reader throws, and no more is read', async () => {
    const { handler, controller, abort, body } = await answered();
    const take = jest.fn(() => {
      throw new Error('nonsense');
    });
    const reading = body.read(take);
    handler.onResponseData(controller, Buffer.from('a'));
    handler.onResponseData(controller, Buffer.from('b'));
    await expect(reading).rejects.toThrow('nonsense');
    expect(take).toHaveBeenCalledTimes(1);
    expect(abort).toHaveBeenCalledTimes(1);
  });

  it('fails with what its reader throws at what had come before', async () => {
    const { handler, controller, body } = await answered();
    handler.onResponseData(controller, Buffer.from('a'));
    handler.onResponseEnd(controller, {});
    const nonsense = () => {
      throw new Error('nonsense');
    };
    await expect(body.read(nonsense)).rejects.toThrow('nonsense');
  });
});
