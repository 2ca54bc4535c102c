import { Controller, Get, SetMetadata } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { PUBLIC_ROUTE } from '#libs/telemetry';

/** `owned_by` tells clients that no real model answers here. */
@ApiTags('openai')
@SetMetadata(PUBLIC_ROUTE, true)
@Controller('v1/models')
export class ModelsController {
  @Get()
  list() {
    return { object: 'list', data: [{ id: 'scripted', object: 'model', created: 0, owned_by: 'scripted' }] };
  }
}
