import type { DynamicModule } from '@nestjs/common';
import { PrometheusModule } from '@willsoto/nestjs-prometheus';
import { register } from 'prom-client';
import { MetricsController } from './metrics.controller.js';

/**
 * `/metrics` in Prometheus' text format. In one process hosting many services the registry is shared, so the
 * process metrics are registered once and every service's own metrics carry an `agent_id`, `tool_name` or `service` label.
 */
export function metricsModule(): DynamicModule {
  return PrometheusModule.register({
    controller: MetricsController,
    defaultMetrics: { enabled: !register.getSingleMetric('process_cpu_user_seconds_total') },
  });
}
