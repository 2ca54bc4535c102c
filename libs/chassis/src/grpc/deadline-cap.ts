import {
  ResponderBuilder,
  ServerInterceptingCall,
  ServerListenerBuilder,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { RetryableError } from '#libs/contracts';
import { statusOf } from './problem-status.js';

/**
 * Ends calls of `services` whose client named no deadline after `capMs` milliseconds, as if it had named that one: their handlers
 * see `cancelled`. Health watches and reflection stay open.
 */
export function deadlineCap(services: string[], capMs: number): ServerInterceptor {
  const isCapped = (path: string) => services.some((service) => path.startsWith(`/${service}/`));
  return (method, call) => {
    if (call.getDeadline() !== Infinity || !isCapped(method.path)) return call as ServerInterceptingCall;
    let timer: NodeJS.Timeout | undefined;
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        timer = setTimeout(() => call.sendStatus(passed(capMs)), capMs);
        next(metadata);
      })
      .withOnCancel(() => clearTimeout(timer))
      .build();
    const responder = new ResponderBuilder()
      .withStart((next) => next(listener))
      .withSendStatus((status, next) => {
        clearTimeout(timer);
        next(status);
      })
      .build();
    return new ServerInterceptingCall(call, responder);
  };
}

const passed = (capMs: number) =>
  statusOf(
    new RetryableError('timeout', `The call took longer than ${capMs / 1000} s; it named no deadline`, {
      status: 504,
    }),
  );
