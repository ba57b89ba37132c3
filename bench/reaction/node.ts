/** One version of the agent on a node of its own: network namespaces, API server, bare watcher, probes. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { FIRST_SYNC, METRICS_URL, startAgent } from '../agent-process.ts';
import { type ApiObjects, type ApiProcess, type ApiWrite, startApiProcess } from '../api-process.ts';
import type { MeasuredBackend } from '../backends.ts';
import { LineProcess, openTestbed, type Testbed } from '../packet/testbed.ts';
import { treeCpuMs, type WatchedProcess } from '../watched-process.ts';
import { CLIENTS, type Probe, PROBES, SERVER } from './cluster.ts';
import { Helper } from './helper.ts';

const PROBE = join(import.meta.dirname, 'probe.pl');
const PATIENCE_MS = 5_000;

export interface Followed {
  /** Milliseconds from the write to the first packet that follows; from the write to its arrival at the bare watcher. */
  readonly packets: number;
  readonly arrival: number;
}

export class NodeUnderTest {
  readonly name: string;
  readonly testbed: Testbed;
  readonly #api: ApiProcess;
  readonly #agent: WatchedProcess;
  readonly #watcher: Helper;
  readonly #server: LineProcess;
  readonly #client: LineProcess;

  private constructor(name: string, testbed: Testbed, parts: Parts) {
    this.name = name;
    this.testbed = testbed;
    this.#api = parts.api;
    this.#agent = parts.agent;
    this.#watcher = parts.watcher;
    this.#server = parts.server;
    this.#client = parts.client;
  }

  /** Resolves after the agent's first pass. Whatever was started is stopped if anything of it fails. */
  static async open(
    name: string,
    bundle: string,
    backend: MeasuredBackend,
    objects: ApiObjects,
    folder: string,
  ): Promise<NodeUnderTest> {
    const directory = mkdtempSync(join(folder, 'node-'));
    const lockFile = join(directory, 'xtables.lock');
    const opened: (() => unknown)[] = [];
    try {
      const testbed = await openTestbed({ client: CLIENTS[0]!, server: SERVER, lockFile });
      opened.push(() => testbed.close());
      for (const address of CLIENTS.slice(1)) await addAddress(testbed, address);
      const inside = (argv: readonly [string, ...string[]]) => testbed.node.inside(argv);
      const api = await startApiProcess(objects, directory, { inside });
      opened.push(() => api.stop());
      const agent = startAgent(bundle, api, { backend, inside, env: { XTABLES_LOCKFILE: lockFile } });
      opened.push(() => agent.stop());
      await agent.said(FIRST_SYNC);
      const watcher = new Helper(inside, api);
      opened.push(() => watcher.stop());
      const ports = Object.values(PROBES).map(({ port }) => String(port));
      const server = await LineProcess.start(testbed.server.inside(['perl', PROBE, 'serve', SERVER, ...ports]));
      opened.push(() => server.kill());
      const client = await LineProcess.start(testbed.client.inside(['perl', PROBE, 'client']));
      return new NodeUnderTest(name, testbed, { api, agent, watcher, server, client });
    } catch (error) {
      for (const close of opened.reverse()) await close();
      throw error;
    }
  }

  /** Makes the change and waits until packets follow. */
  async follow(write: ApiWrite, { source, port }: Probe, allowed: boolean): Promise<Followed> {
    await this.#client.ask(`${source} ${SERVER} ${port} ${allowed ? 'allowed' : 'denied'} ${PATIENCE_MS}`);
    const answer = this.#client.next();
    await sleepALittle();
    const arrived = this.#watcher.arrival(write.object.metadata.name);
    const at = await this.#api.write(write);
    const [followed, arrivedAt] = await Promise.all([answer, arrived]);
    if (followed === 'never')
      throw new Error(`${this.name}: no packet is ${allowed ? 'let through' : 'stopped'} after ${PATIENCE_MS} ms`);
    return { packets: Number(followed) - at, arrival: arrivedAt - at };
  }

  write(write: ApiWrite): Promise<number> {
    return this.#api.write(write);
  }

  /** Sum (seconds) and count so far of the agent's own time from event to commit. */
  async programmed(): Promise<{ readonly seconds: number; readonly count: number }> {
    const text = await this.#watcher.page(METRICS_URL);
    const value = (suffix: string): number =>
      Number(
        new RegExp(`^portcullis_programming_duration_seconds_${suffix} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN,
      );
    return { seconds: value('sum'), count: value('count') };
  }

  /** CPU so far in ms, of the agent and everything it started. */
  agentCpuMs(): number {
    return this.#agent.cpuMs();
  }

  watcherCpuMs(): number {
    return treeCpuMs(this.#watcher.pid);
  }

  /** The rules stay. */
  async stopAgent(): Promise<void> {
    await this.#agent.stop();
  }

  async close(): Promise<void> {
    await this.#client.end();
    this.#server.kill();
    this.#watcher.stop();
    await this.#agent.stop();
    this.#api.stop();
    await this.testbed.close();
  }
}

interface Parts {
  readonly api: ApiProcess;
  readonly agent: WatchedProcess;
  readonly watcher: Helper;
  readonly server: LineProcess;
  readonly client: LineProcess;
}

/** One more address of the client, routed to it. */
async function addAddress({ node, client }: Testbed, address: string): Promise<void> {
  await client.run(['ip', 'address', 'add', `${address}/32`, 'dev', 'eth0']);
  await node.run(['ip', 'route', 'add', `${address}/32`, 'via', CLIENTS[0]!, 'dev', 'client', 'onlink']);
}

/** So that changes meet no rhythm of the agent's. */
function sleepALittle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 10));
}
