/** Reads the VPC CNI's checkpoint file whenever it is replaced. */
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { MonotonicClock } from '../core/clock.ts';

import { poll } from '../core/poll.ts';
import { type Allocation, readCheckpoint } from './vpc-cni-checkpoint.ts';
import { messageOf } from '../core/error-text.ts';

/** What the file system does not tell is found this late. */
const POLL_MS = 2_000;

export interface CheckpointState {
  readonly file: string;
  /** Pods that the file names. */
  readonly pods: number;
  /** Why it could not be read the last time; what was read before holds. */
  readonly problem: string | undefined;
}

interface CheckpointWatchOptions {
  readonly file: string;
  /** After each time that the file was looked at. */
  readonly onRead: (state: CheckpointState) => void;
  readonly clock: Pick<MonotonicClock, 'after'>;
}

export class CheckpointWatch {
  readonly #options: CheckpointWatchOptions;
  #allocations: ReadonlyMap<string, Allocation> = new Map();
  #text = '';
  #changed: (pods: readonly string[]) => void = () => {};
  #watcher: FSWatcher | undefined;
  #problem: string | undefined = 'not read yet';
  #stopped = false;
  readonly #stopPoll: () => void;

  constructor(options: CheckpointWatchOptions) {
    this.#options = options;
    this.#stopPoll = poll({
      ask: () => {
        this.#follow();
        return this.#read();
      },
      onAnswer: () => POLL_MS,
      clock: options.clock,
    });
  }

  /** By pod. */
  current(): ReadonlyMap<string, Allocation> {
    return this.#allocations;
  }

  /** Calls back with the pods whose allocation changed. */
  onChange(callback: (pods: readonly string[]) => void): void {
    this.#changed = callback;
  }

  state(): CheckpointState {
    return { file: this.#options.file, pods: this.#allocations.size, problem: this.#problem };
  }

  stop(): void {
    this.#stopped = true;
    this.#stopPoll();
    this.#watcher?.close();
  }

  /** The folder, as the file is replaced by another; it may not be there yet. */
  #follow(): void {
    if (this.#watcher) return;
    const { file } = this.#options;
    try {
      const watcher = watch(dirname(file), { persistent: false }, (_event, name) => {
        if (name === null || name === basename(file)) void this.#read();
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
      const text = await readFile(this.#options.file, 'utf8');
      if (this.#stopped) return;
      if (text !== this.#text) this.#take(readCheckpoint(text));
      this.#text = text;
      this.#problem = undefined;
    } catch (error) {
      // What was read last holds: addresses are taken only for pods whose status shows none.
      this.#problem = messageOf(error);
    }
    this.#options.onRead(this.state());
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
