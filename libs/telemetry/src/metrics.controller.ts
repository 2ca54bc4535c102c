import { Controller, Get, Res, SetMetadata } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { PrometheusController } from '@willsoto/nestjs-prometheus';
import type { Response } from 'express';

/** Metadata key by which `libs/auth` lets a route through without a token. */
export const PUBLIC_ROUTE = 'baton:public';

@ApiExcludeController()
@SetMetadata(PUBLIC_ROUTE, true)
@Controller()
export class MetricsController extends PrometheusController {
  @Get()
  override index(@Res({ passthrough: true }) response: Response): Promise<string> {
    return super.index(response);
  }
}
