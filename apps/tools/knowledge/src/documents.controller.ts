import { Body, Controller, Delete, Get, HttpCode, Inject, Put, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiNoContentResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { AllowCallers, Caller, isAllowed, Scopes, type Principal } from '#libs/auth';
import { TerminalError, validationError } from '#libs/contracts';
import { DeleteDocumentQuery, ListDocumentsQuery, PutDocumentDto } from './documents.dto.js';
import { DocumentRepository, type DocumentCursor, type DocumentRow } from './documents.repository.js';
import { Indexing, type Indexed } from './indexing.js';
import { SHARED_TENANT, visibleTo } from './tenants.js';

interface DocumentView {
  path: string;
  title: string;
  shared: boolean;
  bytes: number;
  passages: number;
  updated_at: string;
}

/** Callers that may change what every tenant finds. */
const SHARING_CALLERS = ['cli'];

@ApiTags('documents')
@ApiBearerAuth()
@AllowCallers(...SHARING_CALLERS, 'gateway', 'user:*')
@Controller('documents')
export class DocumentsController {
  constructor(
    @Inject(Indexing) private readonly indexing: Indexing,
    @Inject(DocumentRepository) private readonly documents: DocumentRepository,
  ) {}

  @Put()
  @Scopes('tasks:write')
  @ApiOkResponse({ description: '{changed: false}, or {changed: true, passages, embedded}' })
  put(@Body() body: PutDocumentDto, @Caller() caller: Principal): Promise<Indexed> {
    const tenant = ownerOf(caller, body.shared === true);
    return this.indexing.put({ tenant, path: body.path, title: body.title ?? null, text: body.text });
  }

  @Delete()
  @Scopes('tasks:write')
  @HttpCode(204)
  @ApiNoContentResponse({ description: 'Deleted; 404 when there is no such document' })
  async delete(@Query() { path, shared }: DeleteDocumentQuery, @Caller() caller: Principal): Promise<void> {
    if (!(await this.documents.remove(ownerOf(caller, shared === 'true'), path)))
      throw new TerminalError('not-found', 'There is no document at this path', { status: 404 });
  }

  @Get()
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'Own and shared documents by path; next_cursor is null on the last page' })
  async list(
    @Query() query: ListDocumentsQuery,
    @Caller() caller: Principal,
  ): Promise<{ documents: DocumentView[]; next_cursor: string | null }> {
    const limit = Number(query.limit ?? 50);
    const after = query.cursor === undefined ? null : readCursor(query.cursor);
    const rows = await this.documents.page(visibleTo(caller.tenant), after, limit + 1);
    const page = rows.slice(0, limit);
    return { documents: page.map(viewOf), next_cursor: rows.length > limit ? cursorOf(page.at(-1)!) : null };
  }
}

function ownerOf(caller: Principal, shared: boolean): string {
  const tenant = shared ? SHARED_TENANT : caller.tenant;
  if (tenant === SHARED_TENANT && !isAllowed(caller, SHARING_CALLERS))
    throw new TerminalError('forbidden', `Caller ${caller.caller} may not change shared documents`, {
      status: 403,
    });
  return tenant;
}

function viewOf({ tenant, path, title, bytes, passages, updated_at }: DocumentRow): DocumentView {
  return {
    path,
    title,
    shared: tenant === SHARED_TENANT,
    bytes,
    passages,
    updated_at: updated_at.toISOString(),
  };
}

const cursorOf = ({ path, tenant }: DocumentCursor) =>
  Buffer.from(JSON.stringify([path, tenant])).toString('base64url');

function readCursor(text: string): DocumentCursor {
  try {
    const [path, tenant] = JSON.parse(Buffer.from(text, 'base64url').toString()) as unknown[];
    if (typeof path === 'string' && typeof tenant === 'string' && !`${path}${tenant}`.includes('\0'))
      return { path, tenant };
  } catch {
    // Answered below, like every other cursor that was not made here.
  }
  throw validationError([{ field: 'cursor', message: 'use a next_cursor as it was given' }]);
}
