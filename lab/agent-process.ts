/** How an agent is started on a node of the lab and how its pages are read: the one place for the lab itself, its tests and the benchmarks. */
import type { DataplaneChoice } from '../src/cli/config.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import { type ChildProcess, spawn } from 'node:child_process';
import { realpathSync } from 'node:fs';
import * as http from 'node:http';
import { basename } from 'node:path';
import type { PodObject } from './api/objects.ts';
import type { LabNetworkDoor } from './network/types.ts';

/** What the agent's own HTTP server listens on inside of its node. */
export const AGENT_PORT = 9847;
/** What /metrics and /status are served on besides, at all addresses of the node. */
export const METRICS_PORT = 9848;
const PAGE_TIMEOUT_MS = 2_000;

export interface AgentFlags {
  readonly nodeName: string;
  /** Folder with `token` and `ca.crt`. */
  readonly serviceAccountDir: string;
  /** Absent: it is not said, as to an agent that knows only one. */
  readonly dataplane?: DataplaneChoice;
  readonly backend: Backend | 'auto';
  readonly more?: readonly string[];
}

export interface AgentStart extends AgentFlags {
  readonly network: Pick<LabNetworkDoor, 'nodeCommand'>;
  /** Program and leading arguments that run `portcullis`. */
  readonly program: readonly [string, ...string[]];
  /** The API server as nodes see it, `host:port`. */
  readonly apiServer: string;
}

/** The command `agent` and its flags, as the DaemonSet has them. */
export function agentArguments({
  nodeName,
  serviceAccountDir,
  dataplane,
  backend,
  more = [],
}: AgentFlags): readonly string[] {
  return [
    'agent',
    `--node-name=${nodeName}`,
    `--service-account-dir=${serviceAccountDir}`,
    ...(dataplane ? [`--dataplane=${dataplane}`] : []),
    `--backend=${backend}`,
    `--http-address=127.0.0.1:${AGENT_PORT}`,
    ...more,
  ];
}

/** Pods of the DaemonSet stand for the agents, whichever image they name. */
export function isAgentPod({ metadata, spec }: PodObject): boolean {
  return metadata.labels?.['app.kubernetes.io/name'] === 'portcullis' && spec.hostNetwork === true;
}

/** What the kubelet tells each pod of the API server, `host:port`. */
export function apiServerEnvironment(
  apiServer: string,
): Record<'KUBERNETES_SERVICE_HOST' | 'KUBERNETES_SERVICE_PORT', string> {
  const separator = apiServer.lastIndexOf(':');
  return {
    KUBERNETES_SERVICE_HOST: apiServer.slice(0, separator),
    KUBERNETES_SERVICE_PORT: apiServer.slice(separator + 1),
  };
}

/** In the node's network namespace. The programs that bring it there become the agent: the process id is its own. */
export function startAgent({ network, program, apiServer, ...flags }: AgentStart): ChildProcess {
  const command = network.nodeCommand(flags.nodeName, [...program, ...agentArguments(flags)]);
  const env = {
    ...process.env,
    ...command.env,
    KUBECONFIG: undefined,
    // A version that does not know the setting yet passes over it, which it would not over a flag.
    PORTCULLIS_METRICS_ADDRESS: `:${METRICS_PORT}`,
    ...apiServerEnvironment(apiServer),
  };
  const [argv0, ...args] = withoutOrphans(command.argv);
  // A session of its own: Ctrl-C is for the lab, which then stops the agents in its order.
  return spawn(argv0, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
}

export interface Page {
  readonly status: number;
  readonly body: string;
}

/** One GET from the agent's own HTTP server, behind the socket that leads to its port. Rejects if there is no answer within 2 s. */
export function getPage(socketPath: string, path: string): Promise<Page> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path, timeout: PAGE_TIMEOUT_MS, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    request.on('timeout', () => request.destroy(new Error(`no answer to ${path} within ${PAGE_TIMEOUT_MS} ms`)));
    request.on('error', reject);
  });
}

/** The conditions that a body of `/readyz` says do not hold, with their reasons. Throws if it is no such body. */
export function missingConditions(body: string): ReadonlyMap<string, string> {
  const { conditions } = JSON.parse(body) as { conditions: { name: string; ok: boolean; reason: string }[] };
  return new Map(conditions.filter(({ ok }) => !ok).map(({ name, reason }) => [name, reason]));
}

/**
 * The same command, killed by the kernel when this process dies, however it dies (PR_SET_PDEATHSIG survives exec). Without
 * `setpriv` of util-linux an agent may outlive a killed lab, until the next lab's sweep.
 */
function withoutOrphans(argv: readonly [string, ...string[]]): readonly [string, ...string[]] {
  setpriv ??= ['/usr/bin/setpriv', '/bin/setpriv'].find(isUtilLinux) ?? '';
  return setpriv === '' ? argv : [setpriv, '--pdeathsig', 'KILL', ...argv];
}

let setpriv: string | undefined;

/** Busybox has a program of that name that knows no death signal. */
function isUtilLinux(path: string): boolean {
  try {
    return basename(realpathSync(path)) === 'setpriv';
  } catch {
    return false;
  }
}
