import { Controller, Get, Res, SetMetadata } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { PrometheusController } from '@willsoto/nestjs-prometheus';
import type { FastifyReply } from 'fastify';

/** Metadata key by which `libs/auth` lets a route through without a token. */
export const PUBLIC_ROUTE = 'baton:public';

@ApiExcludeController()
@SetMetadata(PUBLIC_ROUTE, true)
@Controller()
export class MetricsController extends PrometheusController {
  @Get()
  override index(@Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    return super.index(reply);
  }
}
