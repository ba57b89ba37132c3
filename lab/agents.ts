/** One agent process per node of the lab: the real program, started as the DaemonSet would, in the node's network namespace. */
import type { DataplaneChoice } from '../src/cli/config.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import type { ChildProcess } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { AgentLog } from './agent-log.ts';
import { type AuditCount, auditCounts } from './audit-counts.ts';
import type { ContainerLog } from './api/pod-log.ts';
import type { PodObject } from './api/objects.ts';
import { AGENT_PORT, getPage, isAgentPod, missingConditions, type Page, startAgent } from './agent-process.ts';
import type { LabNetworkDoor } from './network/types.ts';

const READY_POLL_MS = 25;
const STOP_TIMEOUT_MS = 5_000;
/** An agent reads the counters of its rules once a second at most. */
const COUNTERS_READ_MS = 1_200;

export interface LabAgentsOptions {
  readonly network: LabNetworkDoor;
  /** Program and leading arguments that run `portcullis`. */
  readonly program: readonly [string, ...string[]];
  /** Folder with `token` and `ca.crt`. */
  readonly serviceAccountDir: string;
  /** The API server as nodes see it, `host:port`. */
  readonly apiServer: string;
  readonly dataplane?: DataplaneChoice;
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

/** Of `/status`. */
interface StatusDataplane {
  readonly dataplane?: { readonly backend: string };
}

interface StatusKinds {
  readonly kinds: readonly { readonly kind: string; readonly inKernel: string | null }[];
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
  /** By node: what the agent printed, and the one before it. */
  readonly #printed = new Map<string, { readonly present: AgentLog; readonly previous: AgentLog | undefined }>();

  constructor(options: LabAgentsOptions) {
    this.#options = options;
  }

  startAll(): void {
    for (const { name } of this.#options.network.nodes()) this.start(name);
  }

  start(node: string): void {
    if (this.#agents.has(node)) return;
    const {
      network,
      program,
      serviceAccountDir,
      apiServer,
      dataplane,
      backend,
      mode,
      extraFlags = [],
      logDir,
    } = this.#options;
    const counters = join(logDir, `${node}.policy-counters.json`);
    const more = [`--mode=${mode}`, `--policy-counters-file=${counters}`, ...extraFlags];
    const child = startAgent({
      network,
      nodeName: node,
      program,
      serviceAccountDir,
      apiServer,
      backend,
      ...(dataplane ? { dataplane } : {}),
      more,
    });
    const agent: RunningAgent = { child, stopping: false, ended: this.#ending(node, child, () => agent.stopping) };
    this.#agents.set(node, agent);
    const printed = new AgentLog();
    this.#printed.set(node, { present: printed, previous: this.#printed.get(node)?.present });
    this.#follow(node, child, printed);
    void agent.ended.then(() => printed.end());
  }

  /** For `kubectl logs`. */
  log(pod: PodObject, run: 'present' | 'previous'): ContainerLog | undefined {
    return isAgentPod(pod) ? this.#printed.get(pod.spec.nodeName ?? '')?.[run] : undefined;
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

  #follow(node: string, child: ChildProcess, printed: AgentLog): void {
    const log = this.#logs.get(node) ?? createWriteStream(join(this.#options.logDir, `${node}.log`), { flags: 'a' });
    this.#logs.set(node, log);
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        log.write(`${line}\n`);
        printed.add({ atMs: Date.now(), text: line });
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
  async get(node: string, path: string): Promise<Page> {
    let door = this.#doors.get(node);
    if (!door) {
      door = this.#openDoor(node);
      this.#doors.set(node, door);
    }
    return getPage((await door).path, path);
  }

  /** Under a name that people can type, too. */
  async #openDoor(node: string): Promise<{ readonly path: string }> {
    const door = await this.#options.network.reachNodePort(node, AGENT_PORT);
    await symlink(door.path, this.pagesSocket(node));
    return door;
  }

  /** A unix socket that leads to the agent's own HTTP server, once its pages were asked for. */
  pagesSocket(node: string): string {
    return join(this.#options.logDir, `${node}.sock`);
  }

  /**
   * Resolves when the kernels of all nodes hold every object of these kinds up to these resourceVersions, as `/status` tells, and after
   * `timeoutMs` whatever it tells.
   */
  async followed(versions: Readonly<Record<string, number>>, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (const { name } of this.#options.network.nodes()) {
      while (Date.now() < deadline && !(await this.#hasFollowed(name, versions)))
        await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
    }
  }

  async #hasFollowed(node: string, versions: Readonly<Record<string, number>>): Promise<boolean> {
    try {
      const { kinds } = JSON.parse((await this.get(node, '/status')).body) as StatusKinds;
      return kinds.every(({ kind, inKernel }) => Number(inKernel ?? 0) >= (versions[kind] ?? 0));
    } catch {
      return false;
    }
  }

  /** What they write to now, each once; none of an agent that does not tell. */
  async backends(): Promise<readonly string[]> {
    const told = this.#options.network.nodes().map(async ({ name }) => {
      const { dataplane } = JSON.parse((await this.get(name, '/status')).body) as StatusDataplane;
      return dataplane?.backend ?? [];
    });
    return [...new Set((await Promise.all(told)).flat())].sort();
  }

  /** What the agents have counted until now. */
  async auditCounts(): Promise<readonly AuditCount[]> {
    const scrape = (): Promise<string[]> =>
      Promise.all(this.#options.network.nodes().map(async ({ name }) => (await this.get(name, '/metrics')).body));
    // An answer may hold what the reading before it found.
    await scrape();
    await new Promise((resolve) => setTimeout(resolve, COUNTERS_READ_MS));
    return auditCounts(await scrape());
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
      return status === 200 ? undefined : missingText(body);
    } catch {
      // Its HTTP server is not there yet.
      return 'starting';
    }
  }
}

/** `/readyz` as one line: the conditions that do not hold, with their reasons. */
function missingText(body: string): string {
  try {
    return [...missingConditions(body)].map(([name, reason]) => `${name}: ${reason}`).join('; ');
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
