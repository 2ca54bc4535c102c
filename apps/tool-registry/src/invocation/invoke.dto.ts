import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Allow, IsOptional, Matches, MaxLength } from 'class-validator';
import type { InvokeRequest } from '#libs/contracts';
import { TOOL_RULES } from '#libs/tools';

export class InvokeRequestDto implements InvokeRequest {
  @ApiPropertyOptional({ example: '2.1.0', description: 'The newest when absent' })
  @IsOptional()
  @MaxLength(64)
  @Matches(TOOL_RULES.version)
  version?: string;

  /** Checked against the tool's own schema, not here. */
  @ApiProperty({ type: Object })
  @Allow()
  arguments: unknown;
}
