import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  archiveFile,
  brokerCommand,
  formatCommand,
  registryCommand,
  type Command,
  type KafkaBinaries,
} from './kafka-commands.js';
import { kafkaProperties, loneMember } from './kafka-properties.js';
import { freePort } from './ports.js';
import { endWithParent } from './reaper.js';

const START_MS = 120_000;
const END_MS = 60_000;

/**
 * Starts the broker and the registry once and keeps the classes that they have loaded: with such an archive Java starts them in half
 * the time. Without one they work as well, so nothing here is an error; `binaries.archives` exists afterwards.
 */
export async function archiveClasses(binaries: KafkaBinaries): Promise<void> {
  const draft = `${binaries.archives}.${process.pid}`;
  mkdirSync(draft, { recursive: true });
  const data = join(draft, 'data');
  mkdirSync(data);
  try {
    await Promise.allSettled([archiveBroker(binaries, draft, data), archiveRegistry(binaries, draft, data)]);
    rmSync(data, { recursive: true, force: true });
    renameSync(draft, binaries.archives);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

async function archiveBroker(binaries: KafkaBinaries, archives: string, folder: string): Promise<void> {
  const [port, controllerPort] = [await freePort(), await freePort()];
  const config = join(folder, 'server.properties');
  const member = loneMember(controllerPort);
  writeFileSync(config, kafkaProperties({ port, controllerPort, data: join(folder, 'kafka'), member }));
  const format = formatCommand(binaries, config, randomBytes(16).toString('base64url'));
  await promisify(execFile)(format.command, format.args, { timeout: START_MS });
  await startOnce(brokerCommand(binaries, config), port, archiveFile(archives, 'kafka'));
}

async function archiveRegistry(binaries: KafkaBinaries, archives: string, folder: string): Promise<void> {
  const port = await freePort();
  const command = registryCommand(binaries, port, folder);
  await startOnce(command, port, archiveFile(archives, 'schema-registry'));
}

/** Java writes the archive when it ends. */
async function startOnce({ command, args }: Command, port: number, archive: string): Promise<void> {
  const child = spawn(command, [`-XX:ArchiveClassesAtExit=${archive}`, ...args], {
    stdio: 'ignore',
    cwd: '/',
  });
  endWithParent(child);
  let isOver = false;
  const over = once(child, 'exit')
    .catch(() => undefined)
    .then(() => (isOver = true));
  const deadline = Date.now() + START_MS;
  while (!(await isListening(port)) && !isOver && Date.now() < deadline) await sleep(100);
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
  await over;
  clearTimeout(timer);
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
