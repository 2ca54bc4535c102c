import { Controller, HttpCode, Inject, Post } from '@nestjs/common';
import { ApiBearerAuth, ApiDefaultResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { Caller, Scopes, type Principal } from '#libs/auth';
import { PROBLEM_CONTENT } from '#libs/contracts';
import { requireOperator } from '../operator.js';
import { SigningKeys } from './signing-keys.js';

@ApiTags('keys')
@ApiBearerAuth()
@ApiDefaultResponse({ description: 'A problem (RFC 9457)', content: PROBLEM_CONTENT })
@Controller('keys')
export class KeysController {
  constructor(@Inject(SigningKeys) private readonly keys: SigningKeys) {}

  /** Replaces the signing key out of schedule. */
  @Post('rotate')
  @HttpCode(200)
  @Scopes('admin')
  @ApiOkResponse({ description: '{current, next}: the ids of the key that signs and of the one after it' })
  rotate(@Caller() caller: Principal): Promise<{ current: string; next: string }> {
    requireOperator(caller, 'rotate keys');
    return this.keys.rotate();
  }
}
