/** A process within a limit of memory, as a container is: a control group of its own. Only where this process may make one. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sleep } from './stalls.ts';

/** Files of a control group that speak of its memory, by version of the hierarchy. */
const VERSIONS = [
  { root: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes', peak: 'memory.max_usage_in_bytes' },
  { root: '/sys/fs/cgroup', limit: 'memory.max', peak: 'memory.peak' },
] as const;

const REMOVE_TRIES = 40;
const REMOVE_MS = 50;

export class MemoryLimit {
  readonly #directory: string;
  readonly #peak: string;

  /** Undefined: this machine does not let one. */
  static create(bytes: number): MemoryLimit | undefined {
    for (const { root, limit, peak } of VERSIONS) {
      const directory = join(root, `portcullis-${process.pid}`);
      try {
        mkdirSync(directory);
      } catch {
        continue;
      }
      if (!existsSync(join(directory, peak))) {
        rmdirSync(directory);
        continue;
      }
      writeFileSync(join(directory, limit), String(bytes));
      return new MemoryLimit(directory, peak);
    }
    return undefined;
  }

  private constructor(directory: string, peak: string) {
    this.#directory = directory;
    this.#peak = peak;
  }

  /** Right after its start: what it has by then is not charged. Its children are in it as well. */
  take(pid: number): void {
    writeFileSync(join(this.#directory, 'cgroup.procs'), String(pid));
  }

  /** Bytes: anonymous memory, the kernel's for it, and what of files was read first by what is limited. */
  get peak(): number {
    return Number(readFileSync(join(this.#directory, this.#peak), 'utf8'));
  }

  /** Once what was limited has ended; its children may take a moment longer. */
  async remove(): Promise<void> {
    for (let left = REMOVE_TRIES; ; left--) {
      try {
        rmdirSync(this.#directory);
        return;
      } catch (error) {
        if (left === 0) throw error;
        await sleep(REMOVE_MS);
      }
    }
  }
}
