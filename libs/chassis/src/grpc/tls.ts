import { readFileSync } from 'node:fs';
import { credentials, ServerCredentials, type ChannelCredentials } from '@grpc/grpc-js';
import { messageOf, TerminalError } from '#libs/contracts';
import { str } from '../config.js';

/** PEM files, for the gRPC door and for calls of others alike; all empty: no TLS. */
export const GRPC_TLS_CONFIG = {
  GRPC_TLS_CERT: str({ default: '', desc: 'Certificate (chain) of this service; needs GRPC_TLS_KEY' }),
  GRPC_TLS_KEY: str({ default: '', desc: 'Private key of the certificate' }),
  GRPC_TLS_CA: str({
    default: '',
    desc: 'Authority of the others: the door then asks its clients for a certificate (mTLS)',
  }),
};

export type GrpcTls = Record<keyof typeof GRPC_TLS_CONFIG, string>;

/** @throws TerminalError `configuration` */
export function serverCredentials({ GRPC_TLS_CERT, GRPC_TLS_KEY, GRPC_TLS_CA }: GrpcTls): ServerCredentials {
  if (!GRPC_TLS_CERT && !GRPC_TLS_KEY) {
    if (GRPC_TLS_CA) throw wrong('GRPC_TLS_CA needs GRPC_TLS_CERT and GRPC_TLS_KEY');
    return ServerCredentials.createInsecure();
  }
  const pair = keyPair({ GRPC_TLS_CERT, GRPC_TLS_KEY });
  return ServerCredentials.createSsl(
    GRPC_TLS_CA ? read('GRPC_TLS_CA', GRPC_TLS_CA) : null,
    [{ private_key: pair.key, cert_chain: pair.cert }],
    GRPC_TLS_CA !== '',
  );
}

/** For a `grpcs://` target: its certificate must be of GRPC_TLS_CA (of a public authority when that is empty). @throws TerminalError `configuration` */
export function channelCredentials({
  GRPC_TLS_CERT,
  GRPC_TLS_KEY,
  GRPC_TLS_CA,
}: GrpcTls): ChannelCredentials {
  const pair = GRPC_TLS_CERT || GRPC_TLS_KEY ? keyPair({ GRPC_TLS_CERT, GRPC_TLS_KEY }) : null;
  return credentials.createSsl(
    GRPC_TLS_CA ? read('GRPC_TLS_CA', GRPC_TLS_CA) : null,
    pair?.key ?? null,
    pair?.cert ?? null,
  );
}

function keyPair({ GRPC_TLS_CERT, GRPC_TLS_KEY }: Omit<GrpcTls, 'GRPC_TLS_CA'>): {
  key: Buffer;
  cert: Buffer;
} {
  if (!GRPC_TLS_CERT || !GRPC_TLS_KEY) throw wrong('GRPC_TLS_CERT and GRPC_TLS_KEY go together');
  return { key: read('GRPC_TLS_KEY', GRPC_TLS_KEY), cert: read('GRPC_TLS_CERT', GRPC_TLS_CERT) };
}

function read(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw wrong(`${name}: ${messageOf(error)}`);
  }
}

const wrong = (message: string) => new TerminalError('configuration', message);
