/**
 * A second network namespace with the same rules and sets, in which a small process of its own carries out the very steps the
 * agent carried out: what the commands cost when started by hand. This file is both the handle and that process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { runCommand } from '../src/host/command.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import { createOneVariantKernel } from '../test/support/one-variant-kernel.ts';
import type { Step } from '../src/dataplane/iptables/plan/plan.ts';
import { ClusterModel, type ClusterOptions } from './cluster-model.ts';
import { loadModel } from './load-model.ts';
import { rebuildModel } from './rebuild-model.ts';

/** Which steps; those of a full rebuild are made in the other process, where they weigh on nobody. */
type Work =
  | { readonly kind: 'steps'; readonly steps: readonly Step[] }
  | { readonly kind: 'rebuild-first' | 'rebuild-again'; readonly cluster: ClusterOptions };

interface Request {
  readonly id: number;
  readonly backend: Backend;
  readonly work: Work;
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
    return this.#ask({ kind: 'steps', steps });
  }

  /** The commands of the rebuild model; `rebuild-first` makes what `rebuild-again` makes anew. */
  rebuild(kind: 'rebuild-first' | 'rebuild-again', cluster: ClusterOptions): Promise<readonly number[]> {
    return this.#ask({ kind, cluster });
  }

  #ask(work: Work): Promise<readonly number[]> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, backend: this.#backend, work } satisfies Request);
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

let model: ReturnType<typeof rebuildModel> | undefined;

function stepsOf(work: Work): readonly Step[] {
  if (work.kind === 'steps') return work.steps;
  model ??= rebuildModel(loadModel(new ClusterModel(work.cluster)).snapshot);
  return work.kind === 'rebuild-first' ? model.first : model.again;
}

async function carryOut({ backend, work }: Request): Promise<readonly number[]> {
  const kernel = createOneVariantKernel({ backend, families: [4, 6], run: runCommand, lockWaitSeconds: 5 });
  const times: number[] = [];
  for (const step of stepsOf(work)) {
    const began = performance.now();
    await kernel.apply(step);
    times.push(performance.now() - began);
  }
  return times;
}

if (process.argv[1] === import.meta.filename) serve();
