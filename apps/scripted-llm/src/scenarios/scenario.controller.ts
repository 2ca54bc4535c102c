import {
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Query,
  SetMetadata,
} from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { PUBLIC_ROUTE } from '#libs/telemetry';
import { ScenarioDto } from './scenario.dto.js';
import { ScenarioStore, type Conversation, type ScenarioCounts } from './scenario.store.js';

const MAX_LISTED = 10_000;

@ApiTags('scenarios')
@SetMetadata(PUBLIC_ROUTE, true)
@Controller('scenarios')
export class ScenarioController {
  constructor(@Inject(ScenarioStore) private readonly store: ScenarioStore) {}

  @Post()
  define(@Body() scenario: ScenarioDto): ScenarioCounts {
    this.store.define(scenario);
    return this.store.counts(scenario.name);
  }

  @Get(':name')
  counts(@Param('name') name: string): ScenarioCounts {
    return this.store.counts(name);
  }

  /** Attempts per step of each conversation, known by its last user message, of which 200 characters are shown. */
  @Get(':name/conversations')
  conversations(
    @Param('name') name: string,
    @Query('text') text?: string,
  ): { total: number; conversations: Conversation[] } {
    const found = this.store.conversationsOf(name, typeof text === 'string' ? text : '');
    return { total: found.length, conversations: found.slice(0, MAX_LISTED) };
  }

  @Delete()
  @HttpCode(204)
  clear(): void {
    this.store.clear();
  }
}
