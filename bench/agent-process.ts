/** The agent as the image runs it: bundled, with its flags, a service account, the real kernel. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AGENT_PORT, agentArguments, apiServerEnvironment } from '../lab/agent-process.ts';
import type { ApiProcess } from './api-process.ts';
import { agentChoice, type MeasuredBackend } from './backends.ts';
import { LOCAL_NODE } from './cluster-model.ts';
import type { Stall } from './stalls.ts';
import { IMAGE_ENV, IMAGE_FLAGS } from './suites.ts';
import { WatchedProcess } from './watched-process.ts';

const STALL_PROBE = join(import.meta.dirname, 'stall-probe.mjs');
export const METRICS_URL = `http://127.0.0.1:${AGENT_PORT}/metrics`;
/** Of this version, and of those before it that called a sync a pass. */
export const FIRST_SYNC = /first (?:sync|pass) done/;
type Argv = readonly [string, ...string[]];

/** As the image has it. Result: the file to run. */
export function bundleAgent(directory: string): string {
  const folder = join(directory, 'dist');
  execFileSync(process.execPath, [join(import.meta.dirname, '../scripts/build.ts'), folder], { stdio: 'pipe' });
  return join(folder, 'portcullis.mjs');
}

export interface AgentOptions {
  /** Where the process leaves how long it stood still, when it ends. */
  readonly stallFile?: string;
  readonly backend?: MeasuredBackend;
  /** Further flags. */
  readonly more?: readonly string[];
  readonly nodeName?: string;
  /** How a command is made to run in another network namespace. */
  readonly inside?: (argv: Argv) => Argv;
  readonly env?: Readonly<Record<string, string>>;
}

export function startAgent(bundle: string, api: ApiProcess, options: AgentOptions): WatchedProcess {
  const { stallFile, nodeName = LOCAL_NODE, backend = 'iptables-nft', more = [] } = options;
  const { inside = (argv) => argv, env = {} } = options;
  const probe = stallFile === undefined ? [] : ['--import', STALL_PROBE];
  const choice = agentChoice(backend);
  const flags = agentArguments({
    nodeName,
    serviceAccountDir: api.serviceAccountDir,
    backend: choice.backend,
    more: [...choice.more, ...more],
  });
  const argv = [...IMAGE_FLAGS, ...probe, bundle, ...flags];
  return new WatchedProcess(inside([process.execPath, ...argv]), {
    ...IMAGE_ENV,
    ...choice.env,
    ...env,
    ...(stallFile === undefined ? {} : { STALL_FILE: stallFile }),
    ...apiServerEnvironment(`127.0.0.1:${api.port}`),
  });
}

export function readStall(stallFile: string): Stall {
  return JSON.parse(readFileSync(stallFile, 'utf8')) as Stall;
}
