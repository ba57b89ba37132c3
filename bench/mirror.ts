/**
 * A second network namespace with the same rules and sets, in which a small process of its own carries out the very steps the
 * agent carried out: what the commands cost when started by hand. This file is both the handle and that process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { runCommand } from '../src/kernel/command.ts';
import type { Backend } from '../src/kernel/kernel.ts';
import { createLinuxKernel } from '../src/kernel/linux-kernel.ts';
import type { Step } from '../src/plan/plan.ts';

interface Request {
  readonly id: number;
  readonly backend: Backend;
  readonly steps: readonly Step[];
}

interface Answer {
  readonly id: number;
  /** Of each step, in ms; or what went wrong. */
  readonly result: readonly number[] | string;
}

export class Mirror {
  readonly #backend: Backend;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(times: readonly number[]): void; reject(error: Error): void }>();
  #lastId = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
    const inNamespace = ['--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
    this.#child = spawn('unshare', [...inNamespace, process.execPath, import.meta.filename], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message) => this.#settle(message as Answer));
  }

  /** Milliseconds each step took. */
  apply(steps: readonly Step[]): Promise<readonly number[]> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, backend: this.#backend, steps } satisfies Request);
    });
  }

  stop(): void {
    this.#child.disconnect();
  }

  #settle({ id, result }: Answer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (typeof result === 'string') waiting?.reject(new Error(`mirror: ${result}`));
    else waiting?.resolve(result);
  }
}

function serve(): void {
  let last = Promise.resolve();
  process.on('message', (message) => {
    const request = message as Request;
    last = last.then(async () => {
      const result = await carryOut(request).catch((error: unknown) => String(error));
      process.send!({ id: request.id, result } satisfies Answer);
    });
  });
}

async function carryOut({ backend, steps }: Request): Promise<readonly number[]> {
  const kernel = createLinuxKernel({ backend, families: [4, 6], run: runCommand, lockWaitSeconds: 5 });
  const times: number[] = [];
  for (const step of steps) {
    const began = performance.now();
    await kernel.apply(step);
    times.push(performance.now() - began);
  }
  return times;
}

if (process.argv[1] === import.meta.filename) serve();
