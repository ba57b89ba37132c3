/** A process whose memory and output are followed from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { endWithUs } from './children.ts';
import { sleep } from './stalls.ts';

/** Of the clock in /proc. */
const TICK_MS = 10;

export interface Memory {
  /** Resident bytes. */
  readonly now: number;
  readonly peak: number;
}

export class WatchedProcess {
  readonly startedMs = performance.now();
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  readonly #lines: string[] = [];
  #onLine: () => void = () => {};

  /** Stdout is read line by line; stderr is ours. */
  constructor(argv: readonly [string, ...string[]], env: Readonly<Record<string, string>> = {}) {
    const [program, ...args] = argv;
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...withoutNodeSettings(process.env), ...env },
    });
    endWithUs(this.#child);
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      this.#lines.push(line);
      this.#onLine();
    });
    this.#ended = new Promise((resolve) => this.#child.once('exit', (code, signal) => resolve(`${signal ?? code}`)));
  }

  /** CPU so far in ms, of the process and all it started. */
  cpuMs(): number {
    return treeCpuMs(this.#child.pid ?? 0);
  }

  /** CPU so far in ms, of its main thread alone. */
  mainThreadMs(): number {
    const [nanoseconds] = readFileSync(`/proc/${this.pid}/task/${this.pid}/schedstat`, 'utf8').split(' ');
    return Number(nanoseconds) / 1e6;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Milliseconds from the start to the first line that holds `text`. Rejects if the process ends before. */
  async said(text: string | RegExp): Promise<number> {
    for (;;) {
      if (this.#lines.some((line) => holds(line, text))) return performance.now() - this.startedMs;
      const next = new Promise<undefined>((resolve) => (this.#onLine = () => resolve(undefined)));
      const ended = await Promise.race([next, this.#ended]);
      if (ended !== undefined && !this.#lines.some((line) => holds(line, text)))
        throw new Error(`ended with ${ended} before it said ${String(text)}: ${this.#lines.at(-1) ?? ''}`);
    }
  }

  lineWith(text: string | RegExp): string | undefined {
    return this.#lines.find((line) => holds(line, text));
  }

  linesWith(text: string | RegExp): readonly string[] {
    return this.#lines.filter((line) => holds(line, text));
  }

  count(text: string | RegExp): number {
    return this.linesWith(text).length;
  }

  memory(): Memory {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    const bytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
    return { now: bytes('VmRSS'), peak: bytes('VmHWM') };
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await Promise.race([this.#ended, sleep(5_000).then(() => this.#child.kill('SIGKILL'))]);
    await this.#ended;
  }
}

/** Settings of Node.js are none of the image's: NODE_EXTRA_CA_CERTS alone takes 1 MB. */
function withoutNodeSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('NODE_')));
}

/** CPU in ms of a process, the children it has waited for, and all that live. */
export function treeCpuMs(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    const own = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0) * TICK_MS;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    return children.reduce((sum, child) => sum + treeCpuMs(Number(child)), own);
  } catch {
    return 0;
  }
}

function holds(line: string, text: string | RegExp): boolean {
  return typeof text === 'string' ? line.includes(text) : text.test(line);
}
