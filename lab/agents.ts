/** One agent process per node of the lab: the real program, started as the DaemonSet would, in the node's network namespace. */
import type { Backend } from '../src/core/vocabulary.ts';
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, realpathSync, type WriteStream } from 'node:fs';
import * as http from 'node:http';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { LabNetworkDoor } from './network/types.ts';

/** What the agent's own HTTP server listens on inside of its node. */
const AGENT_PORT = 9847;
const READY_POLL_MS = 25;
const REQUEST_TIMEOUT_MS = 2_000;
const STOP_TIMEOUT_MS = 5_000;

export interface LabAgentsOptions {
  readonly network: LabNetworkDoor;
  /** Program and leading arguments that run `portcullis`. */
  readonly program: readonly [string, ...string[]];
  /** Folder with `token` and `ca.crt`. */
  readonly serviceAccountDir: string;
  /** The API server as nodes see it, `host:port`. */
  readonly apiServer: string;
  readonly backend: Backend | 'auto';
  readonly mode: string;
  /** Flags added to every agent's command line. */
  readonly extraFlags?: readonly string[];
  /** Where each agent's log goes, one file per node. */
  readonly logDir: string;
  /** Each log line of level warn and error, parsed. */
  readonly onComplaint: (node: string, message: string) => void;
  /** An agent ended without being told to. */
  readonly onExit: (node: string, why: string) => void;
}

interface RunningAgent {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  stopping: boolean;
}

export class LabAgents {
  readonly #options: LabAgentsOptions;
  readonly #agents = new Map<string, RunningAgent>();
  readonly #doors = new Map<string, Promise<{ readonly path: string }>>();
  readonly #logs = new Map<string, WriteStream>();

  constructor(options: LabAgentsOptions) {
    this.#options = options;
  }

  startAll(): void {
    for (const { name } of this.#options.network.nodes()) this.start(name);
  }

  start(node: string): void {
    if (this.#agents.has(node)) return;
    const { network, program, serviceAccountDir, apiServer, backend, mode, extraFlags = [], logDir } = this.#options;
    const command = network.nodeCommand(node, [
      ...program,
      'agent',
      `--node-name=${node}`,
      `--service-account-dir=${serviceAccountDir}`,
      `--backend=${backend}`,
      `--mode=${mode}`,
      `--http-address=127.0.0.1:${AGENT_PORT}`,
      ...extraFlags,
    ]);
    const separator = apiServer.lastIndexOf(':');
    const env = {
      ...process.env,
      ...command.env,
      PORTCULLIS_POLICY_COUNTERS_FILE: join(logDir, `${node}.policy-counters.json`),
      KUBECONFIG: undefined,
      KUBERNETES_SERVICE_HOST: apiServer.slice(0, separator),
      KUBERNETES_SERVICE_PORT: apiServer.slice(separator + 1),
    };
    const [argv0, ...args] = withoutOrphans(command.argv);
    // A session of its own: Ctrl-C is for the lab, which then stops the agents in its order.
    const child = spawn(argv0, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const agent: RunningAgent = { child, stopping: false, ended: this.#ending(node, child, () => agent.stopping) };
    this.#agents.set(node, agent);
    this.#follow(node, child);
  }

  #ending(node: string, child: ChildProcess, isExpected: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const end = (why: string): void => {
        if (this.#agents.get(node)?.child === child) this.#agents.delete(node);
        if (!isExpected()) this.#options.onExit(node, why);
        resolve();
      };
      child.on('error', (error) => end(error.message));
      child.on('close', (code, signal) => end(signal ?? `exit code ${code}`));
    });
  }

  #follow(node: string, child: ChildProcess): void {
    const log = this.#logs.get(node) ?? createWriteStream(join(this.#options.logDir, `${node}.log`), { flags: 'a' });
    this.#logs.set(node, log);
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        log.write(`${line}\n`);
        const complaint = readComplaint(line);
        if (complaint) this.#options.onComplaint(node, complaint);
      });
    }
  }

  pid(node: string): number | undefined {
    return this.#agents.get(node)?.child.pid;
  }

  /** SIGKILL, as a crash or the kernel's out-of-memory killer would. Resolves when the process is gone. */
  async kill(node: string): Promise<void> {
    await this.#end(node, 'SIGKILL');
  }

  /** SIGTERM, as the kubelet would. */
  async stop(node: string): Promise<void> {
    await this.#end(node, 'SIGTERM');
  }

  async #end(node: string, signal: NodeJS.Signals): Promise<void> {
    const agent = this.#agents.get(node);
    if (!agent) return;
    agent.stopping = true;
    agent.child.kill(signal);
    const timer = setTimeout(() => agent.child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await agent.ended;
    clearTimeout(timer);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#agents.keys()].map((node) => this.stop(node)));
    await Promise.all([...this.#logs.values()].map((log) => new Promise((resolve) => log.end(resolve))));
    this.#logs.clear();
  }

  /** For `exit` handlers: never waits, never throws. */
  killSync(): void {
    for (const { child } of this.#agents.values()) child.kill('SIGKILL');
  }

  /** One GET from the agent's own HTTP server. */
  async get(node: string, path: string): Promise<{ readonly status: number; readonly body: string }> {
    let door = this.#doors.get(node);
    if (!door) {
      door = this.#options.network.reachNodePort(node, AGENT_PORT);
      this.#doors.set(node, door);
    }
    const { path: socketPath } = await door;
    return new Promise((resolve, reject) => {
      const request = http.get({ socketPath, path, timeout: REQUEST_TIMEOUT_MS, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
        );
      });
      request.on('timeout', () =>
        request.destroy(new Error(`no answer from the agent on ${node} within ${REQUEST_TIMEOUT_MS} ms`)),
      );
      request.on('error', reject);
    });
  }

  /**
   * Resolves when every agent is ready; rejects with what is missing after `timeoutMs`, or at once if an agent has ended.
   * `onWaiting` hears what an agent still lacks.
   */
  async ready(timeoutMs: number, onWaiting?: (node: string, why: string) => void): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (const { name } of this.#options.network.nodes()) {
      for (;;) {
        const missing = await this.#whyNotReady(name);
        if (missing === undefined) break;
        if (!this.#agents.has(name)) throw new Error(`the agent on ${name} does not run`);
        if (Date.now() > deadline)
          throw new Error(`the agent on ${name} is not ready after ${timeoutMs / 1000} s: ${missing}`);
        onWaiting?.(name, missing);
        await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
      }
    }
  }

  async #whyNotReady(node: string): Promise<string | undefined> {
    try {
      const { status, body } = await this.get(node, '/readyz');
      return status === 200 ? undefined : missingConditions(body);
    } catch {
      // Its HTTP server is not there yet.
      return 'starting';
    }
  }
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

/** `/readyz` as one line: the conditions that do not hold, with their reasons. */
function missingConditions(body: string): string {
  try {
    const { conditions } = JSON.parse(body) as { conditions: { name: string; ok: boolean; reason: string }[] };
    const missing = conditions.filter(({ ok }) => !ok).map(({ name, reason }) => `${name}: ${reason}`);
    return missing.join('; ');
  } catch {
    return body.trim();
  }
}

/** Text of a log line of level warn or error, and of anything that is not a log line (a crash). */
function readComplaint(line: string): string | undefined {
  if (line.trim() === '') return undefined;
  try {
    const entry = JSON.parse(line) as { level?: string; message?: string; error?: { message?: string } };
    if (entry.level !== 'warn' && entry.level !== 'error') return undefined;
    return entry.error?.message === undefined ? entry.message : `${entry.message}: ${entry.error.message}`;
  } catch {
    return line;
  }
}
