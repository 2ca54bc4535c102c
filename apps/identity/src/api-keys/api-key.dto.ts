import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsIn,
  IsISO8601,
  IsOptional,
  Matches,
  MaxLength,
} from 'class-validator';
import { SCOPES, type Scope } from '#libs/auth';

const TENANT = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const USER = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$/;

/** Body of `POST /api-keys`. */
export class CreateApiKeyDto {
  @ApiPropertyOptional({ description: "Default: the caller's" })
  @IsOptional()
  @Matches(TENANT, { message: 'tenant must be 1 to 64 small letters, digits or . _ -' })
  tenant?: string;

  @ApiPropertyOptional({ description: "Without a user the key is the tenant's" })
  @IsOptional()
  @Matches(USER, { message: 'user must be 1 to 128 letters, digits or . _ @ -' })
  user?: string;

  @ApiPropertyOptional({ maxLength: 100 })
  @IsOptional()
  @MaxLength(100)
  @Matches(/^[^\p{Cc}]*$/u, { message: 'name must not have control characters' })
  name?: string;

  @ApiProperty({ enum: SCOPES, isArray: true })
  @IsArray()
  @ArrayMinSize(1)
  @ArrayMaxSize(SCOPES.length)
  @IsIn(SCOPES, { each: true })
  scopes: Scope[];

  @ApiPropertyOptional({ format: 'date-time' })
  @IsOptional()
  @IsISO8601({ strict: true, strictSeparator: true })
  expires_at?: string;
}

/** Query of `GET /api-keys`. */
export class ListApiKeysDto {
  @ApiPropertyOptional()
  @IsOptional()
  @Matches(TENANT, { message: 'tenant must be 1 to 64 small letters, digits or . _ -' })
  tenant?: string;

  @ApiPropertyOptional({ description: '`next_cursor` of the previous page' })
  @IsOptional()
  @Matches(/^[1-9]\d{0,17}$/, { message: 'cursor must be the next_cursor of a page' })
  cursor?: string;
}

/** A key as it is shown: never its secret. */
export interface ApiKeyView {
  id: string;
  tenant: string;
  user: string | null;
  name: string;
  scopes: Scope[];
  created_by: string;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
}
