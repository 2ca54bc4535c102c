import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { projectRoot } from '#libs/chassis';
import { client, consume, createTopic, describeKafka, leaderOf, produce, text } from './kafka.fixture.js';
import { isRunning, type OwnedProcess } from './processes.js';
import { startThrowawayKafka, type ThrowawayKafka } from './throwaway-kafka.js';

jest.setTimeout(180_000);

describeKafka('a throwaway Kafka of three nodes', () => {
  let kafka: ThrowawayKafka;
  beforeAll(async () => (kafka = await startThrowawayKafka({ nodes: 3 })));
  afterAll(() => kafka?.stop());

  it('goes on without the leader of a partition, and takes it back', async () => {
    const topic = 'led';
    const cluster = client(kafka.brokers);
    await createTopic(cluster, topic);
    await produce(cluster, topic, ['before']);

    const leaderId = await leaderOf(cluster, topic);
    const leader = kafka.nodes.find(({ id }) => id === leaderId);
    await leader!.kill('SIGKILL');
    await produce(cluster, topic, ['without it']);
    await leader!.start();
    await produce(cluster, topic, ['with it again']);
    expect(text(await consume(cluster, topic, 3))).toEqual(['before', 'without it', 'with it again']);
  });
});

describeKafka("a throwaway Kafka's end", () => {
  const program = `
    const { startThrowawayKafka } = await import(process.argv[1]);
    const { folder } = await startThrowawayKafka();
    console.log(folder);
    setInterval(() => undefined, 1000);
  `;

  it('comes with the end of the process that started it, SIGKILL included', async () => {
    const devstack = pathToFileURL(join(projectRoot(), 'dist/libs/devstack/src/index.js')).href;
    const starter = spawn(process.execPath, ['--input-type=module', '-e', program, devstack], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [folder] = (await once(createInterface(starter.stdout), 'line')) as [string];
    const node = JSON.parse(readFileSync(join(folder, 'node-1/kafka.json'), 'utf8')) as OwnedProcess;
    expect(isRunning(node)).toBe(true);

    starter.kill('SIGKILL');
    for (let i = 0; i < 100 && existsSync(folder); i += 1) await sleep(100);
    expect(isRunning(node)).toBe(false);
    expect(existsSync(folder)).toBe(false);
  });
});
