// Asks an agent over gRPC, knowing nothing but its address and a token: what it can do is learned by reflection.
//
//   TOKEN=$(./baton token) node docs/examples/grpc-client.mjs "How does Baton survive a crash of its worker?"
//
// BATON_GRPC: host:port, default 127.0.0.1:50061 (agent-search of `./baton up`; plus BATON_PORT_OFFSET).
import grpc from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer, loadSync } from '@grpc/proto-loader';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const address = process.env.BATON_GRPC ?? `127.0.0.1:${50061 + Number(process.env.BATON_PORT_OFFSET ?? 0)}`;
const prompt = process.argv[2] ?? 'How does Baton survive a crash of its worker?';
const options = { keepCase: true, longs: String, defaults: true };
const plaintext = grpc.credentials.createInsecure();

// 1. Reflection: the names of the services, then the file that describes one of them.
const modules = dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json'));
const reflectionProto = join(modules, 'build/proto/grpc/reflection/v1/reflection.proto');
const { ServerReflection } = grpc.loadPackageDefinition(loadSync(reflectionProto, options)).grpc.reflection
  .v1;
const reflection = new ServerReflection(address, plaintext);

const reflect = (request) =>
  new Promise((resolve, reject) => {
    const call = reflection.ServerReflectionInfo({ deadline: Date.now() + 5000 });
    call.on('data', resolve).on('error', reject);
    call.write(request);
    call.end();
  });

let agent;
try {
  const { list_services_response: listed } = await reflect({ list_services: '' });
  console.log('services:', listed.service.map(({ name }) => name).join(', '));
  const { file_descriptor_response: described } = await reflect({
    file_containing_symbol: 'agents.v1.AgentService',
  });
  // A FileDescriptorSet is its files, each as field 1.
  const set = Buffer.concat(
    described.file_descriptor_proto.flatMap((file) => [Buffer.from([0x0a, ...varint(file.length)]), file]),
  );
  const { AgentService } = grpc.loadPackageDefinition(loadFileDescriptorSetFromBuffer(set, options)).agents
    .v1;

  // 2. Calls: the token travels as metadata, every call has a deadline.
  agent = new AgentService(address, plaintext);
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${process.env.TOKEN ?? ''}`);
  const within = (ms) => ({ deadline: Date.now() + ms });

  const unary = (method, request) =>
    new Promise((resolve, reject) =>
      agent[method](request, metadata, within(10_000), (error, answer) =>
        error ? reject(error) : resolve(answer),
      ),
    );

  const { task_id, status } = await unary('SubmitTask', { prompt });
  console.log(`task ${task_id}: ${status}`);

  // 3. A stream that breaks goes on after the last sequence that came.
  const end = Date.now() + 120_000;
  let last = 0;
  for (let finished = false; !finished;) {
    const stream = agent.StreamSteps({ task_id, after_sequence: last }, metadata, { deadline: end });
    try {
      for await (const { sequence, step_number, type, content } of stream) {
        if (sequence > 0) {
          last = sequence;
          console.log(
            `${sequence}. step ${step_number} ${type}: ${content.slice(0, 100).replaceAll('\n', ' ')}`,
          );
        }
        finished = type === 'finish';
      }
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE || Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  const { output, steps_used, tokens_used } = await unary('GetTask', { task_id });
  console.log(`\n${output}\n\n(${steps_used} steps, ${tokens_used} tokens)`);
} catch (error) {
  // The problem (RFC 9457) is a trailer: it names every wrong field.
  const [problem] = error.metadata?.get('baton-problem-bin') ?? [];
  const code = grpc.status[error.code] ?? error.code ?? '';
  console.error(`${address}: ${code} ${problem?.toString() ?? error.details ?? error.message}`);
  process.exitCode = 1;
}
agent?.close();
reflection.close();

function varint(value) {
  const bytes = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return [...bytes, rest];
    bytes.push((rest & 0x7f) | 0x80);
  }
}
