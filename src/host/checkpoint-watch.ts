/** Reads the VPC CNI's checkpoint file whenever it is replaced. */
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { EarlyAddresses } from '../agent/early-addresses.ts';
import type { ConditionState } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';

import { type Allocation, readCheckpoint } from './vpc-cni-checkpoint.ts';

/** What the file system does not tell is found this late. */
const POLL_MS = 2_000;

export interface CheckpointWatch extends EarlyAddresses {
  readonly condition: () => ConditionState;
  stop(): void;
}

type After = (ms: number, callback: () => void) => () => void;

export function watchCheckpoint(file: string, log: Logger, after: After): CheckpointWatch {
  return new Watch(file, log, after);
}

class Watch implements CheckpointWatch {
  readonly #file: string;
  readonly #log: Logger;
  readonly #after: After;
  #allocations: ReadonlyMap<string, Allocation> = new Map();
  #text = '';
  #changed: (pods: readonly string[]) => void = () => {};
  #watcher: FSWatcher | undefined;
  #cancel = (): void => {};
  #problem: string | undefined = 'not read yet';
  #reported: string | undefined;
  #stopped = false;

  constructor(file: string, log: Logger, after: After) {
    this.#file = file;
    this.#log = log;
    this.#after = after;
    void this.#poll();
  }

  current(): ReadonlyMap<string, Allocation> {
    return this.#allocations;
  }

  onChange(callback: (pods: readonly string[]) => void): void {
    this.#changed = callback;
  }

  readonly condition = (): ConditionState => ({
    ok: true,
    reason:
      this.#problem === undefined
        ? `${this.#allocations.size} pods in ${this.#file}`
        : `addresses of new pods are known late: ${this.#file}: ${this.#problem}`,
  });

  stop(): void {
    this.#stopped = true;
    this.#cancel();
    this.#watcher?.close();
  }

  async #poll(): Promise<void> {
    this.#follow();
    await this.#read();
    if (!this.#stopped) this.#cancel = this.#after(POLL_MS, () => void this.#poll());
  }

  /** The folder, as the file is replaced by another; it may not be there yet. */
  #follow(): void {
    if (this.#watcher) return;
    try {
      const watcher = watch(dirname(this.#file), { persistent: false }, (_event, name) => {
        if (name === null || name === basename(this.#file)) void this.#read();
      });
      watcher.on('error', () => {
        watcher.close();
        if (this.#watcher === watcher) this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch {
      // Read again and again all the same.
    }
  }

  async #read(): Promise<void> {
    try {
      const text = await readFile(this.#file, 'utf8');
      if (this.#stopped) return;
      if (text !== this.#text) this.#take(readCheckpoint(text));
      this.#text = text;
      this.#problem = undefined;
    } catch (error) {
      // What was read last holds: addresses are taken only for pods whose status shows none.
      this.#problem = error instanceof Error ? error.message : String(error);
    }
    if (this.#problem !== this.#reported) {
      this.#reported = this.#problem;
      if (this.#problem === undefined) this.#log.info(this.condition().reason);
      else this.#log.warn(this.condition().reason);
    }
  }

  #take(allocations: ReadonlyMap<string, Allocation>): void {
    const before = this.#allocations;
    this.#allocations = allocations;
    const keys = new Set([...before.keys(), ...allocations.keys()]);
    const changed = [...keys].filter((key) => {
      return JSON.stringify(before.get(key)) !== JSON.stringify(allocations.get(key));
    });
    if (changed.length > 0) this.#changed(changed);
  }
}
