/**
 * One node with two pods as network namespaces, wired as routed CNIs do: a veth each, host routes, next hop 169.254.1.1, fixed
 * neighbours. The namespaces have no names: each lives as long as a process that holds it, and that ends with this one.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { endWithUs } from '../children.ts';
import { runCommand, type RunCommand } from '../../src/host/command.ts';

const TIMEOUT_MS = 120_000;
const ANSWER_TIMEOUT_MS = 30_000;
const NEXT_HOP = '169.254.1.1';

type Argv = readonly [string, ...string[]];

/** A process that says "ready" and then answers a line with a line, or just waits for its stdin to end. */
export class LineProcess {
  readonly pid: number;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #name: string;

  private constructor(argv: Argv) {
    this.#child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    endWithUs(this.#child);
    this.#child.stdin.on('error', () => {});
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#name = argv.join(' ');
    this.pid = this.#child.pid ?? 0;
  }

  static async start(argv: Argv): Promise<LineProcess> {
    const started = new LineProcess(argv);
    const line = await started.#nextLine();
    if (line !== 'ready') throw new Error(`${started.#name}: said ${JSON.stringify(line)} instead of ready`);
    return started;
  }

  async ask(line: string): Promise<string> {
    const answer = this.#nextLine();
    this.#child.stdin.write(`${line}\n`);
    return answer;
  }

  /** A further line of an answer that has several. */
  next(): Promise<string> {
    return this.#nextLine();
  }

  #nextLine(): Promise<string> {
    return new Promise((resolve, reject) => {
      const onLine = (line: string): void => {
        settle();
        resolve(line);
      };
      const onEnd = (): void => {
        settle();
        reject(new Error(`${this.#name}: ended`));
      };
      // Rules that drop what is measured leave the program waiting.
      const timer = setTimeout(() => {
        settle();
        this.#child.kill();
        reject(new Error(`${this.#name}: no answer after ${ANSWER_TIMEOUT_MS} ms`));
      }, ANSWER_TIMEOUT_MS);
      const settle = (): void => {
        clearTimeout(timer);
        this.#lines.off('line', onLine);
        this.#child.off('exit', onEnd);
        this.#child.off('error', onEnd);
      };
      this.#lines.once('line', onLine);
      this.#child.once('exit', onEnd);
      this.#child.once('error', onEnd);
    });
  }

  /** For a program that does not wait for the end of its stdin. */
  kill(): void {
    this.#child.kill();
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.stdin.end();
    await gone;
  }
}

/** A network namespace without a name. */
export class Namespace {
  readonly #holder: LineProcess;

  private constructor(holder: LineProcess) {
    this.#holder = holder;
  }

  static async open(): Promise<Namespace> {
    const script = 'ip link set lo up && echo ready && exec cat';
    return new Namespace(await LineProcess.start(['unshare', '--net', 'sh', '-c', script]));
  }

  get pid(): number {
    return this.#holder.pid;
  }

  inside(argv: Argv): Argv {
    return ['nsenter', `--net=/proc/${this.pid}/ns/net`, ...argv];
  }

  async run(argv: Argv, stdin = ''): Promise<string> {
    return (await runCommand({ argv: this.inside(argv), stdin, timeoutMs: TIMEOUT_MS })).stdout;
  }

  close(): Promise<void> {
    return this.#holder.end();
  }
}

export interface Testbed {
  readonly node: Namespace;
  readonly client: Namespace;
  readonly server: Namespace;
  /** Runs a command in the node's namespace. */
  readonly run: RunCommand;
  close(): Promise<void>;
}

export interface TestbedOptions {
  readonly client: string;
  readonly server: string;
  /** Of the xtables lock: a private file, because the default one is shared by all namespaces of the host. */
  readonly lockFile: string;
}

export async function openTestbed({ client, server, lockFile }: TestbedOptions): Promise<Testbed> {
  const namespaces = await Promise.all([Namespace.open(), Namespace.open(), Namespace.open()]);
  const [node, clientPod, serverPod] = namespaces;
  const pods = [
    { name: 'client', address: client, namespace: clientPod, mac: '02:00:00:00:00:0a' },
    { name: 'server', address: server, namespace: serverPod, mac: '02:00:00:00:00:0b' },
  ] as const;
  const close = async (): Promise<void> => void (await Promise.all(namespaces.map((each) => each.close())));
  try {
    for (const pod of pods) await connect(node, pod);
    await node.run(['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
    // Every new connection has a port of its own for longer than a run takes.
    await clientPod.run(['sh', '-c', 'echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range']);
  } catch (error) {
    await close();
    throw error;
  }
  const run: RunCommand = (request) =>
    runCommand({ ...request, argv: node.inside(request.argv), env: { ...request.env, XTABLES_LOCKFILE: lockFile } });
  return { node, client: clientPod, server: serverPod, run, close };
}

interface PodEnd {
  readonly name: string;
  readonly address: string;
  readonly namespace: Namespace;
  readonly mac: string;
}

const NODE_MAC = '02:00:00:00:00:01';

async function connect(node: Namespace, { name, address, namespace, mac }: PodEnd): Promise<void> {
  const batch = (lines: readonly string[]): string => `${lines.join('\n')}\n`;
  await node.run(
    ['ip', '-batch', '-'],
    batch([`link add ${name} address ${NODE_MAC} type veth peer name eth0 address ${mac} netns ${namespace.pid}`]),
  );
  await namespace.run(
    ['ip', '-batch', '-'],
    batch([
      `address add ${address}/32 dev eth0`,
      'link set eth0 up',
      `route add ${NEXT_HOP} dev eth0`,
      `neighbour add ${NEXT_HOP} lladdr ${NODE_MAC} dev eth0 nud permanent`,
      `route add default via ${NEXT_HOP}`,
    ]),
  );
  await node.run(
    ['ip', '-batch', '-'],
    batch([
      `link set ${name} up`,
      `route add ${address}/32 dev ${name}`,
      `neighbour add ${address} lladdr ${mac} dev ${name} nud permanent`,
    ]),
  );
}
