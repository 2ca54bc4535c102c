import { Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsOptional,
  IsString,
  Length,
  Matches,
  Max,
  Min,
  ValidateBy,
  ValidateIf,
  ValidateNested,
} from 'class-validator';

const MAX_STEPS = 1000;
const MAX_DELAY_MS = 600_000;

const IsArguments = () =>
  ValidateBy({
    name: 'isArguments',
    validator: {
      validate: (value) => typeof value === 'string' || (typeof value === 'object' && value !== null),
      defaultMessage: () => 'arguments must be an object, or a text that is sent as it is',
    },
  });

const IsRetryAfter = () =>
  ValidateBy({
    name: 'isRetryAfter',
    validator: {
      validate: (value) => (typeof value === 'number' && value >= 0) || typeof value === 'string',
      defaultMessage: () => 'retry_after must be seconds or an HTTP date',
    },
  });

export class ToolCallDto {
  @IsString() @Length(1, 64) name: string;
  /** An object, or raw text (e.g. broken JSON). */
  @IsArguments() arguments: Record<string, unknown> | string;
  @IsOptional() @IsString() @Length(1, 64) id?: string;
}

export class UsageDto {
  @IsInt() @Min(0) prompt_tokens: number;
  @IsInt() @Min(0) completion_tokens: number;
}

export class ErrorDto {
  @IsInt() @Min(400) @Max(599) status: number;
  @IsOptional() @IsRetryAfter() retry_after?: number | string;
  @IsOptional() @IsInt() @Min(1) times?: number;
}

/** One reply of the model. Without `times`, a fault happens on every attempt. */
export class StepDto {
  @IsOptional() @IsString() content?: string;
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(128)
  @ValidateNested({ each: true })
  @Type(() => ToolCallDto)
  tool_calls?: ToolCallDto[];
  @IsOptional() @IsString() @Length(1, 64) finish_reason?: string;
  /** Null: no usage is sent. */
  @ValidateIf((step: StepDto) => step.usage !== undefined && step.usage !== null)
  @ValidateNested()
  @Type(() => UsageDto)
  usage?: UsageDto | null;
  @IsOptional() @IsInt() @Min(0) @Max(MAX_DELAY_MS) latency_ms?: number;
  @IsOptional() @ValidateNested() @Type(() => ErrorDto) error?: ErrorDto;
  @IsOptional() @IsBoolean() hang?: boolean;
  /** Characters of content and arguments after which the connection is cut. */
  @IsOptional() @IsInt() @Min(0) cut_after?: number;
  /** The first attempts that `hang` and `cut_after` hit. */
  @IsOptional() @IsInt() @Min(1) times?: number;
  /** `{{attempt}}` in content and arguments becomes the attempt's number. */
  @IsOptional() @IsBoolean() vary?: boolean;
  @IsOptional() @IsInt() @Min(1) chunk_chars?: number;
  @IsOptional() @IsInt() @Min(0) @Max(MAX_DELAY_MS) chunk_delay_ms?: number;
}

export class ScenarioDto {
  @Matches(/^[\w.-]{1,128}$/) name: string;
  /** Text that the last user message contains. Default `[scenario:<name>]`. */
  @IsOptional() @IsString() @Length(1, 10_000) match?: string;
  @IsArray()
  @ArrayMinSize(1)
  @ArrayMaxSize(MAX_STEPS)
  @ValidateNested({ each: true })
  @Type(() => StepDto)
  steps: StepDto[];
  /** What answers beyond the last step. Default `repeat_last`. */
  @IsOptional() @IsIn(['repeat_last', 'rules']) on_end?: 'repeat_last' | 'rules';
  /** Of steps without their own. */
  @IsOptional() @IsInt() @Min(0) @Max(MAX_DELAY_MS) latency_ms?: number;
}
