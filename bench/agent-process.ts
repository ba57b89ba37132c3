/** The agent as the image runs it: bundled, with its flags, a service account, the real kernel. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { ApiProcess } from './api-process.ts';
import { LOCAL_NODE } from './cluster-model.ts';
import { IMAGE_ENV, IMAGE_FLAGS } from './suites.ts';
import { WatchedProcess } from './watched-process.ts';

const HTTP = '127.0.0.1:9847';
export const FIRST_PASS = 'first pass done';

/** As the image has it. Result: the file to run. */
export function bundleAgent(directory: string): string {
  const folder = join(directory, 'dist');
  execFileSync(process.execPath, [join(import.meta.dirname, '../scripts/build.ts'), folder], { stdio: 'pipe' });
  return join(folder, 'portcullis.mjs');
}

export function startAgent(bundle: string, api: ApiProcess): WatchedProcess {
  const flags = ['--node-name', LOCAL_NODE, '--service-account-dir', api.serviceAccountDir, '--http-address', HTTP];
  return new WatchedProcess(
    [process.execPath, ...IMAGE_FLAGS, bundle, 'agent', ...flags, '--backend', 'iptables-nft'],
    {
      ...IMAGE_ENV,
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(api.port),
    },
  );
}

/** EVENT_LOOP_PRECISION_MS of src/status/metrics.ts: what the metric shows of a loop that never stood still. */
const LAG_PRECISION_MS = 100;

/** The longest stall of its event loop since the start or the last call, in ms, as its own metrics have it. */
export async function longestStallMs(): Promise<number> {
  const response = await fetch(`http://${HTTP}/metrics`);
  const found = /^nodejs_eventloop_lag_max_seconds(?:\{[^}]*\})? (\S+)$/m.exec(await response.text());
  return Math.max(0, Number(found?.[1]) * 1000 - LAG_PRECISION_MS);
}
