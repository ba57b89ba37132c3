/** Test files in several processes at once; what a file prints is shown together when it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type FileResult, reportLine } from './run-file.ts';

/** Begins the line a worker ends a file with. */
export const RESULT = '\u0000result ';

const WORKER = join(import.meta.dirname, 'test-worker.ts');

export interface PoolOptions {
  /** At most so many processes; each runs one file at a time. */
  readonly workers: number;
  readonly onlyFaults: boolean;
  readonly onResult: (file: string, result: FileResult) => void;
  readonly print: (text: string) => void;
}

/** Resolves when all have run. A file whose process ends has failed; the files after it get a new one. */
export async function runInPool(files: readonly string[], options: PoolOptions): Promise<void> {
  const waiting = [...files];
  const lane = async (): Promise<void> => {
    let worker: Worker | undefined;
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      worker ??= new Worker(options);
      const result = await worker.run(file);
      options.onResult(file, result);
      if (worker.hasEnded) worker = undefined;
    }
    await worker?.end();
  };
  await Promise.all(Array.from({ length: Math.min(options.workers, files.length) }, lane));
}

class Worker {
  readonly #process: ChildProcess;
  readonly #exit: Promise<unknown>;
  readonly #print: PoolOptions['print'];
  #output = '';
  #onOutput: (() => void) | undefined;
  hasEnded = false;

  constructor({ onlyFaults, print }: PoolOptions) {
    this.#print = print;
    const argv = [process.execPath, WORKER, ...(onlyFaults ? ['--faults'] : [])];
    // One pipe for both streams keeps their order.
    this.#process = spawn('sh', ['-c', 'exec "$0" "$@" 2>&1', ...argv], { stdio: ['pipe', 'pipe', 'inherit'] });
    // A worker that ends with work before it breaks this pipe; its exit tells the same.
    this.#process.stdin!.on('error', () => {});
    this.#process.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#onOutput?.();
    });
    this.#exit = once(this.#process, 'close').then(() => {
      this.hasEnded = true;
      this.#onOutput?.();
    });
  }

  async run(file: string): Promise<FileResult> {
    const startedMs = performance.now();
    this.#process.stdin!.write(`${file}\n`);
    const line = await this.#resultLine();
    if (line !== undefined) return JSON.parse(line) as FileResult;
    this.#print(`${reportLine(false, file, 'its process ended', startedMs)}\n`);
    return { passed: 0, failed: 1, skipped: [], seconds: (performance.now() - startedMs) / 1000 };
  }

  /** Shows what came before it; undefined if the process ends without one. */
  #resultLine(): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#onOutput = () => {
        const at = this.#output.indexOf(`\n${RESULT}`);
        const end = at < 0 ? -1 : this.#output.indexOf('\n', at + 1);
        if (end < 0 && !this.hasEnded) return;
        this.#onOutput = undefined;
        this.#print(end < 0 ? this.#output : this.#output.slice(0, at));
        const line = end < 0 ? undefined : this.#output.slice(at + 1 + RESULT.length, end);
        this.#output = end < 0 ? '' : this.#output.slice(end + 1);
        resolve(line);
      };
      this.#onOutput();
    });
  }

  async end(): Promise<void> {
    this.#process.stdin!.end();
    await this.#exit;
  }
}
