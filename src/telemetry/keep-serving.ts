/** The status server, tried again until its address is to be had: what only informs holds up nothing. */
import type { StatusServer } from './health.ts';
import type { Logger } from './log.ts';

import { formatListenAddress } from './health.ts';
import { after } from '../core/clock.ts';
import { messageOf } from '../core/error-text.ts';

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 10_000;

export interface ServingServer {
  /** Resolves when nothing is served any more. */
  close(): Promise<void>;
}

/** Starts serving; never rejects. */
export function keepServing(start: () => Promise<StatusServer>, log: Logger, later = after): ServingServer {
  let cancel = (): void => {};
  let closed = false;
  let told = '';
  const attempt = async (delayMs: number): Promise<StatusServer | undefined> => {
    try {
      const server = await start();
      if (told !== '') log.info(`serving now on ${formatListenAddress(server.address)}`);
      return server;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== told)
        log.error(`${problem}. Rules are written all the same; probes and scrapes fail until then, trying again`);
      told = problem;
      cancel = later(delayMs, () => {
        if (!closed) current = attempt(Math.min(delayMs * 2, MAX_RETRY_MS));
      });
      return undefined;
    }
  };
  let current = attempt(FIRST_RETRY_MS);
  return {
    close: async () => {
      closed = true;
      await (await current)?.close();
      cancel();
    },
  };
}
