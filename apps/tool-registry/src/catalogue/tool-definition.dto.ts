import { ApiProperty } from '@nestjs/swagger';
import {
  IsBoolean,
  IsIn,
  IsInt,
  IsObject,
  IsString,
  Length,
  Matches,
  Max,
  MaxLength,
  Min,
} from 'class-validator';
import type { JsonSchema, ToolDefinition, ToolEffect } from '#libs/contracts';
import { TOOL_RULES } from '#libs/tools';

const { descriptionChars, rateLimit, timeoutMs } = TOOL_RULES;

export class ToolDefinitionDto implements ToolDefinition {
  @ApiProperty({ example: 'web_search' }) @Matches(TOOL_RULES.name) name: string;
  @ApiProperty({ example: '2.1.0' }) @MaxLength(64) @Matches(TOOL_RULES.version) version: string;
  @ApiProperty() @IsString() @Length(descriptionChars.min, descriptionChars.max) description: string;
  @ApiProperty({ type: Object }) @IsObject() parameters: JsonSchema;
  @ApiProperty({ type: Object }) @IsObject() returns: JsonSchema;
  @ApiProperty() @IsString() @MaxLength(2048) endpoint: string;
  @ApiProperty() @IsString() @MaxLength(2048) health_url: string;
  @ApiProperty({ enum: ['service', 'none'] }) @IsIn(['service', 'none']) auth_type: 'service' | 'none';
  @ApiProperty() @IsInt() @Min(rateLimit.min) @Max(rateLimit.max) rate_limit: number;
  @ApiProperty() @IsInt() @Min(timeoutMs.min) @Max(timeoutMs.max) timeout_ms: number;
  @ApiProperty({ enum: ['read', 'write'] }) @IsIn(['read', 'write']) effect: ToolEffect;
  @ApiProperty() @IsBoolean() idempotent: boolean;
}
