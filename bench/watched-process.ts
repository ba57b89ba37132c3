/** A process whose memory and output are followed from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { sleep } from './stalls.ts';

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
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...env } });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      this.#lines.push(line);
      this.#onLine();
    });
    this.#ended = new Promise((resolve) => this.#child.once('exit', (code, signal) => resolve(`${signal ?? code}`)));
  }

  /** Milliseconds from the start to the first line that holds `text`. Rejects if the process ends before. */
  async said(text: string): Promise<number> {
    for (;;) {
      if (this.#lines.some((line) => line.includes(text))) return performance.now() - this.startedMs;
      const next = new Promise<undefined>((resolve) => (this.#onLine = () => resolve(undefined)));
      const ended = await Promise.race([next, this.#ended]);
      if (ended !== undefined && !this.#lines.some((line) => line.includes(text)))
        throw new Error(`ended with ${ended} before it said ${JSON.stringify(text)}: ${this.#lines.at(-1) ?? ''}`);
    }
  }

  lineWith(text: string): string | undefined {
    return this.#lines.find((line) => line.includes(text));
  }

  linesWith(text: string): readonly string[] {
    return this.#lines.filter((line) => line.includes(text));
  }

  count(text: string): number {
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
