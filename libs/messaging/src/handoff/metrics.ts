import { Injectable } from '@nestjs/common';
import { InjectMetric, makeCounterProvider, makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Gauge } from 'prom-client';
import type { MessageKind } from '#libs/contracts';

export const HANDOFF_METRIC_PROVIDERS = [
  makeCounterProvider({
    name: 'handoff_published_total',
    help: 'Messages of the outbox that were offered to the transport, by outcome',
    labelNames: ['service', 'kind', 'outcome'],
  }),
  makeCounterProvider({
    name: 'handoff_consumed_total',
    help: 'Messages that were read, by outcome',
    labelNames: ['service', 'kind', 'outcome'],
  }),
  makeGaugeProvider({
    name: 'handoff_outbox_age_seconds',
    help: 'Age of the oldest message that was not handed to the transport yet; 0 when there is none',
    labelNames: ['service'],
  }),
  makeGaugeProvider({
    name: 'handoff_outbox_under_way',
    help: 'Messages that lie in queues and were not taken yet; without Kafka only',
    labelNames: ['service'],
  }),
];

/** Labels come from closed sets: never a topic, as reply addresses come from outside. */
@Injectable()
export class HandoffMetrics {
  service = 'unknown';

  constructor(
    @InjectMetric('handoff_published_total') private readonly publishedTotal: Counter,
    @InjectMetric('handoff_consumed_total') private readonly consumedTotal: Counter,
    @InjectMetric('handoff_outbox_age_seconds') private readonly outboxAge: Gauge,
    @InjectMetric('handoff_outbox_under_way') private readonly underWay: Gauge,
  ) {}

  published(kind: MessageKind, outcome: 'delivered' | 'failed' | 'poison' | 'expired'): void {
    this.publishedTotal.inc({ service: this.service, kind, outcome });
  }

  consumed(kind: MessageKind | 'unknown', outcome: 'handled' | 'retried' | 'poison'): void {
    this.consumedTotal.inc({ service: this.service, kind, outcome });
  }

  outbox({ waitingSeconds, underWay }: { waitingSeconds: number; underWay: number }): void {
    this.outboxAge.set({ service: this.service }, waitingSeconds);
    this.underWay.set({ service: this.service }, underWay);
  }
}
