/** Whether an agent runs on this node, told by its pages. */
import { request } from 'node:http';
import type { ListenAddress } from '../telemetry/health.ts';

const ANSWER_MS = 2_000;

/** Where its pages are for a program on its node, as options of a request. */
export function pagesAt(
  address: ListenAddress,
): { readonly socketPath: string } | { readonly host: string; readonly port: number } {
  return 'path' in address ? { socketPath: address.path } : { host: address.host || '127.0.0.1', port: address.port };
}

/** True also where the connection is taken and nobody answers: a paused agent goes on later. */
export function answersAt(address: ListenAddress, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request(
      { ...pagesAt(address), path: '/healthz', timeout: ANSWER_MS, agent: false, signal },
      (response) => {
        response.resume();
        resolve(true);
      },
    );
    asked.on('timeout', () => {
      resolve(true);
      asked.destroy();
    });
    asked.on('error', () => resolve(false));
    asked.end();
  });
}
