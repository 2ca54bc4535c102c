import { createServer, type AddressInfo, type Server } from 'node:net';
import { freePort, listeningInodes, requireFreePort } from './ports.js';

const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0`;

describe('listeningInodes', () => {
  it('finds listeners of the port alone', () => {
    expect(listeningInodes(TABLE, 8080)).toEqual(['4711']);
    expect(listeningInodes(TABLE, 8082)).toEqual([]);
  });
});

describe('requireFreePort', () => {
  let server: Server;
  beforeEach(() => new Promise<void>((resolve) => (server = createServer()).listen(0, '127.0.0.1', resolve)));
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  it('names the port, its holder and the fix', async () => {
    const { port } = server.address() as AddressInfo;
    await expect(requireFreePort(port, 'gateway')).rejects.toMatchObject({
      code: 'port-taken',
      message: expect.stringMatching(
        new RegExp(`Port ${port}, wanted by gateway.*BATON_PORT_OFFSET`),
      ) as string,
    });
  });

  it('passes a free one', async () => {
    await expect(requireFreePort(await freePort(), 'gateway')).resolves.toBeUndefined();
  });
});
