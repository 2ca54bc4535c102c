import { Kafka, logLevel, type Admin } from 'kafkajs';
import { tasksTopic } from '#libs/contracts';
import { startThrowawayKafka, type SpawnedService, type ThrowawayKafka } from '#libs/devstack';
import { answer, callTool, describeKafka, eventually, TestStack, type TestCaller } from '#libs/testing';

jest.setTimeout(240_000);

const TASKS = 200;
const TOPIC = tasksTopic('agent-test');
const TEXT = 'cluster';
/** A dead leader's partitions get another one after its session (6 s), and clients look for it with growing pauses. */
const PATIENCE_MS = 150_000;

describeKafka('three brokers', () => {
  let kafka: ThrowawayKafka;
  let admin: Admin;
  let stack: TestStack;
  let caller: TestCaller;
  const agents: SpawnedService[] = [];
  const startAgent = async () => {
    const agent = await stack.spawnAgent();
    agents.push(agent);
    return agent;
  };

  beforeAll(async () => {
    kafka = await startThrowawayKafka({ nodes: 3 });
    stack = await TestStack.start({ KAFKA_BROKERS: kafka.brokers, KAFKA_REPLICATION: '3' });
    caller = await stack.startCaller();
    await startAgent();
    admin = new Kafka({ brokers: kafka.brokers.split(','), logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
  });
  afterAll(async () => {
    await admin?.disconnect();
    await caller?.stop();
    await stack?.stop();
    await kafka?.stop();
  });

  const effects = () => stack.tools.effects.filter(({ text }) => text === TEXT);
  /** The verdict: the results that came back and the tools' own ledger. */
  const counts = async (taskIds: string[]) => {
    const results = (await caller.results()).filter(({ task_id }) => taskIds.includes(task_id));
    const distinct = new Set(results.map(({ task_id }) => task_id)).size;
    const keys = new Set(effects().map(({ key }) => key)).size;
    return {
      tasks: taskIds.length,
      completed: results.filter(({ status }) => status === 'completed').length,
      effects: effects().length,
      duplicates: results.length - distinct + (effects().length - keys),
      lost: taskIds.length - distinct,
    };
  };
  const nothingLostNorDoubled = { tasks: TASKS, completed: TASKS, effects: TASKS, duplicates: 0, lost: 0 };
  let taskIds: string[] = [];

  it('a leader killed and an agent joining with 200 hand-offs in flight: 200 tasks, each once', async () => {
    const prompt = await stack.scenario({
      name: TEXT,
      steps: [{ ...callTool('test_record', { text: TEXT }), latency_ms: 300 }, answer('Recorded.')],
    });
    const some = (count: number) =>
      caller.handOffAll(
        Array.from({ length: count }, (_, i) => ({ prompt, sessionId: `cluster-${i % 40}` })),
        stack.subject(),
      );
    taskIds = await some(TASKS / 2);
    await eventually(() => effects().length > 0, Boolean, {
      timeoutMs: PATIENCE_MS,
      what: 'the first effect',
    });
    const joining = startAgent();
    const leader = await leaderOf(0);
    taskIds.push(...(await some(TASKS / 2)));
    expect(effects().length).toBeLessThan(TASKS);
    await kafka.nodes.find(({ id }) => id === leader)!.kill('SIGKILL');
    await joining;
    await eventually(
      () => counts(taskIds),
      ({ lost }) => lost === 0,
      { timeoutMs: PATIENCE_MS, what: '200 results' },
    );
    const seen = await counts(taskIds);
    process.stdout.write(`three brokers, leader ${leader} killed: ${JSON.stringify(seen)}\n`);
    expect(seen).toEqual(nothingLostNorDoubled);
    expect(await leaderOf(0)).not.toBe(leader);
    await kafka.nodes.find(({ id }) => id === leader)!.start();
  });

  it('31 offsets set back to the beginning: every message comes again, no task does', async () => {
    await Promise.all(agents.map((agent) => agent.stop()));
    const group = { groupId: 'agent-test', topic: TOPIC };
    await eventually(async () => (await admin.describeGroups([group.groupId])).groups[0]!.state === 'Empty');
    await admin.resetOffsets({ ...group, earliest: true });
    await startAgent();
    await eventually(
      async () => {
        const [ends, [at]] = await Promise.all([
          admin.fetchTopicOffsets(TOPIC),
          admin.fetchOffsets({ groupId: group.groupId, topics: [TOPIC] }),
        ]);
        return ends.every(({ partition, high }) =>
          at!.partitions.some((one) => one.partition === partition && (one.offset === high || high === '0')),
        );
      },
      Boolean,
      { timeoutMs: PATIENCE_MS, what: 'all messages handled again' },
    );
    const later = await caller.handOff(
      { prompt: await stack.scenario({ name: 'later', steps: [answer('later')] }), sessionId: 'cluster-0' },
      stack.subject(),
    );
    await eventually(async () => (await caller.results(later)).length > 0, Boolean, {
      timeoutMs: PATIENCE_MS,
    });
    const seen = await counts(taskIds);
    process.stdout.write(`offsets set back: ${JSON.stringify(seen)}\n`);
    expect(seen).toEqual(nothingLostNorDoubled);
  });

  async function leaderOf(partition: number): Promise<number> {
    const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] });
    return topics[0]!.partitions.find(({ partitionId }) => partitionId === partition)!.leader;
  }
});
