import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean, IsIn, IsOptional, IsString, Length, Matches, MaxLength } from 'class-validator';
import { DOCUMENT_LIMITS } from './indexing.js';

/** Neither control characters nor blanks at the ends. */
const LINE = /^(?![\s])[^\p{Cc}\p{Cs}]*(?<!\s)$/u;
const LINE_MESSAGE = { message: 'one line without control characters or surrounding blanks is wanted' };

export class PutDocumentDto {
  @ApiProperty({ maxLength: DOCUMENT_LIMITS.pathChars, example: 'docs/guide.md' })
  @IsString()
  @Length(1, DOCUMENT_LIMITS.pathChars)
  @Matches(LINE, LINE_MESSAGE)
  path: string;

  @ApiPropertyOptional({
    maxLength: DOCUMENT_LIMITS.titleChars,
    description: 'Default: first heading or file name',
  })
  @IsOptional()
  @IsString()
  @Length(1, DOCUMENT_LIMITS.titleChars)
  @Matches(LINE, LINE_MESSAGE)
  title?: string | null;

  @ApiProperty({ description: 'Markdown or plain text, up to 1 MiB in UTF-8' })
  @IsString()
  text: string;

  @ApiPropertyOptional({ description: 'Findable by every tenant; for the callers cli and developer' })
  @IsOptional()
  @IsBoolean()
  shared?: boolean;
}

export class DeleteDocumentQuery {
  @ApiProperty() @IsString() @Length(1, DOCUMENT_LIMITS.pathChars) @Matches(LINE, LINE_MESSAGE) path: string;
  @ApiPropertyOptional() @IsOptional() @IsIn(['true', 'false']) shared?: 'true' | 'false';
}

export class ListDocumentsQuery {
  @ApiPropertyOptional({ description: '1 to 200, default 50' })
  @IsOptional()
  @Matches(/^([1-9]\d?|1\d\d|200)$/, { message: 'a whole number from 1 to 200 is wanted' })
  limit?: string;

  @ApiPropertyOptional({ description: 'The next_cursor of the page before' })
  @IsOptional()
  @IsString()
  @MaxLength(4096)
  cursor?: string;
}
