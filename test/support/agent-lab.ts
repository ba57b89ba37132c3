/** A small lab whose agents a test starts, breaks and ends by itself, with what it needs to look at them and at the kernel. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backend, type Family, MODE_KEY } from '../../src/core/vocabulary.ts';
import { CommandFailed, runCommand } from '../../src/host/command.ts';
import type { DataplaneChoice } from '../../src/cli/config.ts';
import { NFT_TABLE } from '../../src/dataplane/nftables/table/names.ts';
import { AGENT_PORT, getPage, missingConditions, type Page, startAgent } from '../../lab/agent-process.ts';
import { ADDRESSES_ANNOTATION } from '../../lab/kubelet.ts';
import type { Lab } from '../../lab/lab.ts';
import {
  type EndpointKey,
  type FlowMode,
  type LabFlow,
  type LabRepeat,
  type ProbeProtocol,
  type ProbeResult,
  nodeKey,
  outsideKey,
  podKey,
} from '../../lab/network/types.ts';
import { namespaceObject, podObject } from './api-objects.ts';
import { type PolicySpec, policyObject, splitKey } from './builders.ts';
import { createTestLab, type TestLabOptions } from './test-lab.ts';

const COMMAND_TIMEOUT_MS = 20_000;
/** Answers inside one machine take microseconds; silence for this long is a drop. */
const PROBE_MS = 60;
/** The specification gives a change a second; a shared machine may stand still for a while. */
const SOON_MS = 4_000;
const POLL_MS = 20;
const MAX_POLL_MS = 100;

/** What our first rule in a built-in chain asks, as arguments of iptables. */
export const FIRST_PACKETS = ['-m', 'conntrack', '!', '--ctstate', 'RELATED,ESTABLISHED'] as const;

export const BACKENDS: readonly Backend[] = ['iptables-nft', 'iptables-legacy'];

/** What enforces policies. */
export type Engine = Backend | 'nftables';
export const ENGINES: readonly Engine[] = [...BACKENDS, 'nftables'];

/** A lab whose agents enforce with it. */
export function enforcedBy(engine: Engine): Pick<TestLabOptions, 'dataplane' | 'backend'> {
  return engine === 'nftables' ? { dataplane: 'nftables' } : { backend: engine };
}

export function skipUnlessRoot(this: Mocha.Context): void {
  if (process.getuid?.() !== 0) this.skip();
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly time: string;
  readonly [field: string]: unknown;
}

export interface StartOptions {
  readonly flags?: readonly string[];
  /** Absent: that of the lab. `default`: the agent is not told. */
  readonly dataplane?: DataplaneChoice | 'default';
  /** Absent: that of the lab. */
  readonly backend?: Backend;
  /** Of the agent's process; `PATH` tells which programs it finds. */
  readonly env?: Readonly<Record<string, string>>;
  readonly token?: string;
  /** A program and its first arguments; the agent's command line follows them. */
  readonly wrap?: readonly string[];
}

/** One agent process on one node. */
export class AgentProcess {
  readonly node: string;
  readonly log: LogLine[] = [];
  /** What was printed that is no log line. */
  readonly noise: string[] = [];
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  readonly #socket: Promise<{ readonly path: string }>;

  constructor(node: string, child: ChildProcess, socket: Promise<{ readonly path: string }>) {
    this.node = node;
    this.#child = child;
    this.#socket = socket;
    for (const stream of [child.stdout!, child.stderr!])
      createInterface({ input: stream }).on('line', (line) => {
        try {
          this.log.push(JSON.parse(line) as LogLine);
        } catch {
          this.noise.push(line);
        }
      });
    this.ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  }

  /** Of the agent itself: the programs that bring it onto its node become it. */
  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async end(signal: NodeJS.Signals): Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }> {
    this.#child.kill(signal);
    return await this.ended;
  }

  async get(path: string): Promise<Page> {
    return getPage((await this.#socket).path, path);
  }

  /** Sum over all series of the name whose labels contain `labels`; 0 if there is none. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const { body } = await this.get('/metrics');
    let sum = 0;
    for (const line of body.split('\n')) {
      const found = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (found?.[1] !== name) continue;
      if (Object.entries(labels).every(([key, value]) => (found[2] ?? '').includes(`${key}="${value}"`)))
        sum += Number(found[3]);
    }
    return sum;
  }

  /** Status code and, by name, what does not hold. */
  async readiness(): Promise<{ readonly status: number; readonly missing: Readonly<Record<string, string>> }> {
    const { status, body } = await this.get('/readyz');
    return { status, missing: Object.fromEntries(missingConditions(body)) };
  }

  async ready(timeoutMs = 30_000): Promise<void> {
    let last = '';
    await until(
      async () => {
        const found = await this.readiness().catch((error: Error) => ({ status: 0, missing: { http: error.message } }));
        last = JSON.stringify(found.missing);
        return found.status === 200;
      },
      () => `agent on ${this.node} ready: ${last}\n${this.tail()}`,
      timeoutMs,
    );
  }

  /** The first line that `matches`, from line number `from` on; waits for it. */
  async logged(matches: (line: LogLine) => boolean, what: string, from = 0, timeoutMs = SOON_MS): Promise<LogLine> {
    await until(
      () => this.log.slice(from).some(matches),
      () => `log line: ${what}\n${this.tail()}`,
      timeoutMs,
    );
    return this.log.slice(from).find(matches)!;
  }

  tail(lines = 15): string {
    return [...this.log.slice(-lines).map((line) => JSON.stringify(line)), ...this.noise.slice(-lines)].join('\n');
  }
}

/** Waits until `condition` holds; fails with `what`. What takes long to ask is asked less often. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string),
  timeoutMs = SOON_MS,
): Promise<number> {
  const started = performance.now();
  for (;;) {
    const asked = performance.now();
    if (await condition()) return asked - started;
    if (performance.now() - started > timeoutMs)
      assert.fail(`not within ${timeoutMs} ms: ${typeof what === 'string' ? what : what()}`);
    // A listing of rules takes the CPU from the agent that writes them.
    await sleep(Math.min(MAX_POLL_MS, Math.max(POLL_MS, performance.now() - asked)));
  }
}

export interface PodOptions {
  readonly node?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly addresses?: readonly string[];
  readonly hostNetwork?: boolean;
}

/** From, to and what must be seen: `x/a -> x/b` reaches, `x/a -x x/b` does not. Names: pods, nodes, outside hosts. */
export type Reach = `${string} -> ${string}` | `${string} -x ${string}`;

/** What rules that stamp flows show while no free epoch is known: each packet of live flows is judged. */
const EVERY_PACKET = /--set-xmark 0x0\/|ct mark set ct mark & 0x[0-9a-f]+$/m;
/** A chain that shows packets past rules that wait to be deleted. */
const OVERLAY = ':PCL-O-';
/** A sync that deletes what was replaced comes 300 ms after the last change. */
const LONGER_THAN_TIDYING_WAITS_MS = 450;

export class AgentLab {
  readonly lab: Lab;
  readonly backend: Backend;
  readonly engine: Engine;
  readonly agents = new Map<string, AgentProcess>();
  /** Complaints of the lab itself. */
  readonly problems: readonly string[];
  readonly #token: string;

  static async create(options: Omit<TestLabOptions, 'agents'> = {}): Promise<AgentLab> {
    const { lab, problems } = await createTestLab({ ...options, agents: false });
    return new AgentLab(lab, problems);
  }

  private constructor(lab: Lab, problems: readonly string[]) {
    this.lab = lab;
    const { dataplane, backend } = lab.options;
    this.backend = backend;
    this.engine = dataplane === 'nftables' ? dataplane : backend;
    this.problems = problems;
    this.#token = lab.server.token;
  }

  async close(): Promise<void> {
    await Promise.all([...this.agents.values()].map((agent) => agent.end('SIGKILL')));
    await this.lab.close();
    assert.deepEqual(this.problems, []);
  }

  // ------------------------------------------------------------------------------------------------------------ agents

  /** Starts an agent without waiting for anything. */
  launch(
    node = 'node-1',
    {
      flags = [],
      dataplane = this.lab.options.dataplane ?? 'default',
      backend = this.backend,
      env = {},
      token = this.#token,
      wrap = [],
    }: StartOptions = {},
  ): AgentProcess {
    const before = this.agents.get(node);
    assert.ok(!before?.running, `an agent runs on ${node} already`);
    // On the node's side of the programs that lead there: PATH is the agent's, not theirs.
    const given = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    const child = startAgent({
      network: this.lab.network,
      nodeName: node,
      program: ['env', ...given, ...wrap, ...this.lab.options.program],
      serviceAccountDir: this.#serviceAccountDir(token),
      apiServer: this.lab.publication.address,
      backend,
      ...(dataplane === 'default' ? {} : { dataplane }),
      more: flags,
    });
    const agent = new AgentProcess(node, child, this.lab.network.reachNodePort(node, AGENT_PORT));
    this.agents.set(node, agent);
    return agent;
  }

  #serviceAccountDir(token: string): string {
    if (token === this.#token) return join(this.lab.dir, 'serviceaccount');
    const directory = join(this.lab.dir, `serviceaccount-${token}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'token'), token);
    writeFileSync(join(directory, 'ca.crt'), this.lab.server.caPem);
    writeFileSync(join(directory, 'namespace'), 'kube-system');
    return directory;
  }

  async start(node = 'node-1', options: StartOptions = {}): Promise<AgentProcess> {
    const agent = this.launch(node, options);
    await agent.ready();
    return agent;
  }

  // ----------------------------------------------------------------------------------------------------------- cluster

  async pods(specs: Readonly<Record<string, PodOptions>>): Promise<void> {
    for (const [key, spec] of Object.entries(specs)) this.createPod(key, spec);
    await this.lab.settle();
  }

  createPod(key: string, { node = 'node-1', labels, addresses, hostNetwork }: PodOptions = {}): void {
    const { store } = this.lab;
    const { namespace } = splitKey(key);
    if (!store.get('namespaces', { name: namespace })) store.create('namespaces', namespaceObject(namespace));
    const ports = [{ containerPort: 80 }, { containerPort: 80, protocol: 'UDP' }];
    const object = podObject(key, {
      ...(labels ? { labels } : {}),
      metadata: addresses ? { annotations: { [ADDRESSES_ANNOTATION]: addresses.join(',') } } : {},
      spec: {
        nodeName: node,
        ...(hostNetwork ? { hostNetwork: true } : {}),
        containers: [{ name: 'main', image: 'lab', ports }],
      },
    });
    store.create('pods', object);
  }

  deletePod(key: string): void {
    this.lab.store.delete('pods', splitKey(key), { gracePeriodSeconds: 0 });
  }

  /** Null takes a label away. */
  labelPod(key: string, labels: Readonly<Record<string, string | null>>): void {
    this.lab.store.patch('pods', splitKey(key), 'merge', { metadata: { labels } });
  }

  labelNamespace(name: string, labels: Readonly<Record<string, string | null>>): void {
    this.lab.store.patch('namespaces', { name }, 'merge', { metadata: { labels } });
  }

  annotateNode(node: string, annotations: Readonly<Record<string, string | null>>): void {
    this.lab.store.patch('nodes', { name: node }, 'merge', { metadata: { annotations } });
  }

  labelNode(node: string, labels: Readonly<Record<string, string | null>>): void {
    this.lab.store.patch('nodes', { name: node }, 'merge', { metadata: { labels } });
  }

  /** Of a policy (`namespace/name`) or of a namespace; null takes it away. */
  annotateMode(object: string, mode: string | null): void {
    const metadata = { annotations: { [MODE_KEY]: mode } };
    if (object.includes('/')) this.lab.store.patch('networkpolicies', splitKey(object), 'merge', { metadata });
    else this.lab.store.patch('namespaces', { name: object }, 'merge', { metadata });
  }

  /** Creates the policy, or replaces it. */
  policy(key: string, spec: PolicySpec): void {
    const { store } = this.lab;
    const object = policyObject(key, spec);
    if (store.get('networkpolicies', splitKey(key))) store.update('networkpolicies', object);
    else store.create('networkpolicies', object);
  }

  deletePolicy(key: string): void {
    this.lab.store.delete('networkpolicies', splitKey(key));
  }

  // ----------------------------------------------------------------------------------------------------------- packets

  endpoint(name: string): EndpointKey {
    if (name.includes('/')) return podKey(splitKey(name));
    return this.lab.network.nodes().some((node) => node.name === name) ? nodeKey(name) : outsideKey(name);
  }

  address(name: string, family: Family = 4): string {
    const { network } = this.lab;
    const all = [...network.pods(), ...network.nodes(), ...network.outsideHosts()];
    const key = this.endpoint(name);
    const found = all.find((each) => each.key === key)?.addresses.find((text) => text.includes(':') === (family === 6));
    assert.ok(found !== undefined, `${name} has no IPv${family} address`);
    return found;
  }

  /** What of `wanted` is not so, in words; TCP and UDP in every family. */
  wrong(wanted: readonly Reach[], protocols?: readonly ProbeProtocol[]): Promise<readonly string[]> {
    return this.#wrong(wanted, this.lab.options.families, protocols);
  }

  wrongIn(family: Family, wanted: readonly Reach[]): Promise<readonly string[]> {
    return this.#wrong(wanted, [family]);
  }

  async #wrong(
    wanted: readonly Reach[],
    families: readonly Family[],
    protocols: readonly ProbeProtocol[] = ['TCP', 'UDP'],
  ): Promise<readonly string[]> {
    const asked = wanted.flatMap((text) => {
      const [, from, arrow, to] = /^(\S+) (->|-x) (\S+)$/.exec(text)!;
      return families.flatMap((family) =>
        protocols.map((protocol) => ({ text, from: from!, reaches: arrow === '->', to: to!, family, protocol })),
      );
    });
    const results = await this.lab.network.probeMatrix(
      asked.map(({ from, to, family, protocol }) => ({
        from: this.endpoint(from),
        address: this.address(to, family),
        protocol,
        port: 80,
        timeoutMs: PROBE_MS,
      })),
    );
    return asked.flatMap(({ text, reaches, family, protocol }, index) => {
      const { outcome, detail }: ProbeResult = results[index]!;
      if (outcome === (reaches ? 'reached' : 'blocked')) return [];
      return [`${text} (IPv${family} ${protocol}): ${outcome} ${detail ?? ''}`];
    });
  }

  /** Waits until all of `wanted` is so; result: milliseconds from the call to the first matrix that was right. */
  async expect(wanted: readonly Reach[], timeoutMs = SOON_MS): Promise<number> {
    let wrong: readonly string[] = [];
    return await until(
      async () => {
        wrong = await this.wrong(wanted);
        return wrong.length === 0;
      },
      () => [...wrong, ...[...this.agents.values()].map((agent) => agent.tail())].join('\n'),
      timeoutMs,
    );
  }

  flow(from: string, to: string, options: FlowOptions = {}): Promise<LabFlow> {
    const { protocol = 'TCP', mode = 'talk', family = 4, port = 80, intervalMs = 20 } = options;
    const address = options.address ?? this.address(to, family);
    return this.lab.network.openFlow(this.endpoint(from), { protocol, mode, address, port, intervalMs });
  }

  repeat(from: string, to: string, family: Family = 4, protocol: ProbeProtocol = 'TCP'): Promise<LabRepeat> {
    return this.lab.network.repeatProbe(this.endpoint(from), {
      protocol,
      address: this.address(to, family),
      port: 80,
      intervalMs: 50,
      timeoutMs: 200,
      attempts: 1,
    });
  }

  /** `count` datagrams from one socket, without waiting for an answer. */
  async sendUdp(from: string, address: string, port: number, count: number): Promise<void> {
    const script =
      'use IO::Socket::IP; my ($host, $port, $count) = @ARGV;' +
      'my $socket = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, Proto => "udp") or die;' +
      'for (1 .. $count) { syswrite $socket, "x"; select undef, undef, undef, 0.01 }';
    await this.inside(from, ['perl', '-e', script, address, String(port), String(count)]);
  }

  /** Runs a command where an endpoint's processes run; rejects with CommandFailed. */
  async inside(name: string, argv: readonly [string, ...string[]]): Promise<string> {
    const { network } = this.lab;
    const key = this.endpoint(name);
    const found = [...network.pods(), ...network.nodes(), ...network.outsideHosts()].find((each) => each.key === key)!;
    const command = ['ip', 'netns', 'exec', found.netns, ...argv] as const;
    return (await runCommand({ argv: command, timeoutMs: COMMAND_TIMEOUT_MS })).stdout;
  }

  // ------------------------------------------------------------------------------------------------------------ kernel

  /** Runs a command on a node; rejects with CommandFailed. */
  async on(node: string, argv: readonly [string, ...string[]], stdin = ''): Promise<string> {
    const { argv: full, env } = this.lab.network.nodeCommand(node, argv);
    return (await runCommand({ argv: full, env, stdin, timeoutMs: COMMAND_TIMEOUT_MS })).stdout;
  }

  iptables(family: Family, ...args: string[]): Promise<string> {
    const variant = this.backend === 'iptables-nft' ? 'nft' : 'legacy';
    return this.on('node-1', [
      `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}`,
      '-w',
      '5',
      '-t',
      'mangle',
      ...args,
    ]);
  }

  /** Several changes to table mangle, IPv4, in one commit. */
  restore(lines: readonly string[]): Promise<string> {
    const tool = `${this.backend}-restore`;
    return this.on('node-1', [tool, '--noflush', '-w', '5'], ['*mangle', ...lines, 'COMMIT', ''].join('\n'));
  }

  ipset(...args: string[]): Promise<string> {
    return this.on('node-1', ['ipset', ...args]);
  }

  nft(...words: readonly string[]): Promise<string> {
    return this.on('node-1', ['nft', ...words]);
  }

  /** What our table holds, chains and entries of sets in order of name; empty: it is not there. */
  async #tableText(node: string): Promise<string> {
    const list = ['nft', '-s', 'list', 'table', 'inet', NFT_TABLE] as const;
    const text = await this.on(node, [...list]).catch((error: unknown) => {
      if (error instanceof CommandFailed && error.stderr.includes('No such file or directory')) return '';
      throw error;
    });
    const inOrder = text.replaceAll(
      /elements = \{([^}]*)\}/g,
      (_, elements: string) => `elements = ${elements.trim().split(/,\s+/).sort().join(', ')}`,
    );
    return inOrder
      .replace(/^\}$/m, '')
      .split(/^(?=\t\w)/m)
      .map((part) => part.trimEnd())
      .sort()
      .join('\n');
  }

  /** Tried again where a set is destroyed between its rule, which is read first, and its name. */
  async #saved(node: string, argv: readonly [string, ...string[]]): Promise<string> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.on(node, argv);
      } catch (error) {
        const isGone = error instanceof CommandFailed && error.stderr.includes("in kernel doesn't exist");
        if (!isGone || tries === 3) throw error;
      }
    }
  }

  /**
   * Rules of both families (one table, or all) without counters and dates, chains and entries of sets in order of name. Where agents enforce
   * with nftables, our table comes first, and what is in iptables only where all is asked for.
   */
  async kernelText(node = 'node-1', table: string | undefined = 'mangle'): Promise<string> {
    const parts: string[] = this.engine === 'nftables' ? [await this.#tableText(node)] : [];
    if (this.engine === 'nftables' && table !== undefined) return parts[0]!;
    for (const tool of this.backend === 'iptables-nft'
      ? ['iptables-nft-save', 'ip6tables-nft-save']
      : ['iptables-legacy-save', 'ip6tables-legacy-save']) {
      const text = await this.#saved(node, [tool, ...(table === undefined ? [] : ['-t', table])]);
      parts.push(inChainOrder(text.replaceAll(/^#.*\n/gm, '').replaceAll(/ \[\d+:\d+\]$/gm, '')));
    }
    const sets = (await this.on(node, ['ipset', 'save'])).trimEnd().split('\n');
    return [...parts, sets.sort().join('\n')].join('\n');
  }

  /** As `kernelText`, once a free epoch was found, what was replaced is gone, and nothing changes by itself any more. */
  async restingText(node = 'node-1'): Promise<string> {
    let text = '';
    await until(
      async () => {
        const before = text;
        text = await this.kernelText(node);
        if (text === before) return !EVERY_PACKET.test(text) && !text.includes(OVERLAY);
        await sleep(LONGER_THAN_TIDYING_WAITS_MS);
        return false;
      },
      'the rules come to rest',
      10_000,
    );
    return text;
  }

  /** What of ours is on the node: chains, jumps and sets. */
  async leftovers(node = 'node-1'): Promise<readonly string[]> {
    const lines = (await this.kernelText(node)).split('\n');
    return this.engine === 'nftables'
      ? lines.filter((line) => line !== '')
      : lines.filter((line) => line.includes('PCL'));
  }

  /** True if the command fails as a command: what the kernel does not let one do. */
  async refused(node: string, argv: readonly [string, ...string[]]): Promise<boolean> {
    try {
      await this.on(node, argv);
      return false;
    } catch (error) {
      if (error instanceof CommandFailed) return true;
      throw error;
    }
  }
}

export interface FlowOptions {
  readonly protocol?: 'TCP' | 'UDP';
  readonly mode?: FlowMode;
  readonly family?: Family;
  readonly address?: string;
  readonly port?: number;
  /** 20 if absent. */
  readonly intervalMs?: number;
}

/** Chains are listed in the order in which they were made; that of the rules within each is what counts. */
function inChainOrder(text: string): string {
  const chainOf = (line: string): string => /^(?::|-A )(\S+)/.exec(line)?.[1] ?? '';
  const isRule = (line: string): number => (line.startsWith('-A ') ? 1 : 0);
  return text
    .split(/^(?=\*)/m)
    .sort()
    .map((table) => {
      const [title = '', ...lines] = table.split('\n');
      const inOrder = lines.filter((line) => chainOf(line) !== '');
      inOrder.sort((a, b) => isRule(a) - isRule(b) || (chainOf(a) < chainOf(b) ? -1 : chainOf(a) > chainOf(b) ? 1 : 0));
      return [title, ...inOrder, ''].join('\n');
    })
    .join('');
}
