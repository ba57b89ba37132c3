/** The agent as the image runs it: bundled, with its flags, a service account, the real kernel. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ApiProcess } from './api-process.ts';
import { LOCAL_NODE } from './cluster-model.ts';
import type { Stall } from './stalls.ts';
import { IMAGE_ENV, IMAGE_FLAGS } from './suites.ts';
import { WatchedProcess } from './watched-process.ts';

const STALL_PROBE = join(import.meta.dirname, 'stall-probe.mjs');
const HTTP = '127.0.0.1:9847';
export const FIRST_PASS = 'first pass done';

/** As the image has it. Result: the file to run. */
export function bundleAgent(directory: string): string {
  const folder = join(directory, 'dist');
  execFileSync(process.execPath, [join(import.meta.dirname, '../scripts/build.ts'), folder], { stdio: 'pipe' });
  return join(folder, 'portcullis.mjs');
}

/** `stallFile`: where the process leaves how long it stood still, when it ends. */
export function startAgent(bundle: string, api: ApiProcess, stallFile: string): WatchedProcess {
  const flags = ['--node-name', LOCAL_NODE, '--service-account-dir', api.serviceAccountDir, '--http-address', HTTP];
  return new WatchedProcess(
    [process.execPath, ...IMAGE_FLAGS, '--import', STALL_PROBE, bundle, 'agent', ...flags, '--backend', 'iptables-nft'],
    {
      ...IMAGE_ENV,
      STALL_FILE: stallFile,
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(api.port),
    },
  );
}

export function readStall(stallFile: string): Stall {
  return JSON.parse(readFileSync(stallFile, 'utf8')) as Stall;
}
