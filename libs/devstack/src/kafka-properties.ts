/** A node's place in its cluster. */
export interface ClusterMember {
  nodeId: number;
  /** 16 random bytes as base64url, the same for all nodes; null: a new one when the data is formatted. */
  clusterId: string | null;
  /** The controllers' ports on 127.0.0.1 by node; the nodes listed here are the cluster. */
  controllerPorts: Record<number, number>;
}

/** A cluster of one. */
export function loneMember(controllerPort: number): ClusterMember {
  return { nodeId: 1, clusterId: null, controllerPorts: { 1: controllerPort } };
}

interface Node {
  port: number;
  controllerPort: number;
  /** Folder of the data. */
  data: string;
  member: ClusterMember;
}

/**
 * The configuration of one node. The controllers are listed here and not in the data, so that a node can move to other ports.
 * Internal topics are small, and replicated on up to three nodes; two of three must have written what counts as written.
 */
export function kafkaProperties({ port, controllerPort, data, member }: Node): string {
  const controllers = Object.entries(member.controllerPorts);
  const replicas = Math.min(controllers.length, 3);
  const inSync = Math.min(replicas, 2);
  const internal = (topic: string) => ({
    [`${topic}.num.partitions`]: 3,
    [`${topic}.replication.factor`]: replicas,
  });
  const properties = {
    'process.roles': 'broker,controller',
    'node.id': member.nodeId,
    'controller.quorum.voters': controllers.map(([id, at]) => `${id}@127.0.0.1:${at}`).join(','),
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'inter.broker.listener.name': 'PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': data,
    'num.partitions': 3,
    'default.replication.factor': replicas,
    'min.insync.replicas': inSync,
    // Topics are made by who needs them, with their own retention.
    'auto.create.topics.enable': false,
    ...internal('offsets.topic'),
    ...internal('transaction.state.log'),
    'transaction.state.log.min.isr': inSync,
    ...internal('share.coordinator.state.topic'),
    'share.coordinator.state.topic.min.isr': inSync,
    'group.initial.rebalance.delay.ms': 0,
    // A killed node is noticed, and let in again, after this long.
    'broker.session.timeout.ms': 6000,
    'broker.heartbeat.interval.ms': 1000,
    'controller.quorum.election.timeout.ms': 500,
    'controller.quorum.fetch.timeout.ms': 1000,
    // The default holds 128 MB of the heap.
    'log.cleaner.dedupe.buffer.size': 4 * 1024 * 1024,
  };
  return `${Object.entries(properties)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')}\n`;
}
