/** Learns where local pods are attached, and looks again while any is not known. */
import { readdirSync } from 'node:fs';
import type { MonotonicClock } from '../core/clock.ts';
import type { RunCommand } from './command.ts';

import {
  findInterfaces,
  type FoundInterfaces,
  type KnownPort,
  NO_INTERFACES,
  type PodInterfaces,
} from './pod-interfaces.ts';
import { askNeighbours, readHostFacts } from './read-interfaces.ts';
import { messageOf } from '../core/error-text.ts';

/** A pod answers who it is within milliseconds once it runs; one that does not is asked less and less often. */
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 10_000;
/** Interfaces change with pods; what changes otherwise is found this late. */
const IDLE_MS = 30_000;
/** One look at the names of all interfaces takes less than a tenth of a millisecond. */
const NAMES_MS = 200;

/** What the last look left open. */
export interface InterfaceState {
  /** Pods whose interface is not known, sorted. */
  readonly unknown: readonly string[];
  /** Interfaces that look like a pod's, but belong to no pod that is known. */
  readonly nobodys: readonly string[];
  /** Why the host could not be read; what was found before holds. */
  readonly problem: string | undefined;
  /** A pod that has just come needs a moment: what is open then may be answered by the next look. */
  readonly isSettled: boolean;
}

interface InterfaceWatchOptions {
  readonly run: RunCommand;
  readonly prefixes: readonly string[];
  readonly trunkPrefix: string;
  /** Rules keep new pods out: a bridge that appears is looked at at once. */
  readonly isClosed: boolean;
  /** After each look. */
  readonly onLook: (state: InterfaceState) => void;
  readonly clock: Pick<MonotonicClock, 'after'>;
}

export class InterfaceWatch {
  readonly #options: InterfaceWatchOptions;
  #localAddresses: ReadonlyMap<string, string> = new Map();
  #interfaces: PodInterfaces = NO_INTERFACES;
  #ports: ReadonlyMap<string, KnownPort> = new Map();
  #unknown: FoundInterfaces['unknown'] = [];
  #nobodys: readonly string[] = [];
  #problem: string | undefined;
  #changed = (): void => {};
  #cancel = (): void => {};
  #cancelNames = (): void => {};
  #retryMs = FIRST_RETRY_MS;
  #looking = false;
  /** Pods changed while it was looking. */
  #again = false;
  #stopped = false;

  constructor(options: InterfaceWatchOptions) {
    this.#options = options;
    if (options.isClosed) this.#watchNames('');
  }

  #watchNames(before: string): void {
    if (this.#stopped) return;
    const names = interfaceNames();
    if (before !== '' && names !== before) void this.look();
    this.#cancelNames = this.#options.clock.after(NAMES_MS, () => this.#watchNames(names));
  }

  /** Interfaces of these pods (`namespace/name` by address) as far as they are known; told of a pod it does not know, it begins to look. */
  of(localAddresses: ReadonlyMap<string, string>): PodInterfaces {
    if (localAddresses !== this.#localAddresses) {
      this.#localAddresses = localAddresses;
      this.#retryMs = FIRST_RETRY_MS;
      void this.look();
    }
    return this.#interfaces;
  }

  /** Calls back when `of` would answer otherwise. */
  onChange(callback: () => void): void {
    this.#changed = callback;
  }

  /** Looks now; resolves when it has looked, whatever it found. */
  async look(): Promise<void> {
    this.#again = this.#looking;
    if (this.#looking || this.#stopped) return;
    this.#cancel();
    this.#looking = true;
    try {
      await this.#read();
      this.#problem = undefined;
    } catch (error) {
      this.#problem = messageOf(error);
    }
    this.#looking = false;
    this.#options.onLook(this.state());
    if (this.#again) void this.look();
    else this.#lookLater();
  }

  /** Where pods are attached, as found so far. */
  known(): PodInterfaces {
    return this.#interfaces;
  }

  state(): InterfaceState {
    const unknown = [...new Set(this.#unknown.map(({ pod }) => pod))].sort();
    const isKnown = unknown.length === 0 && this.#problem === undefined;
    const isSettled = isKnown || this.#retryMs >= MAX_RETRY_MS;
    return { unknown, nobodys: this.#nobodys, problem: this.#problem, isSettled };
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
    this.#cancelNames();
  }

  async #read(): Promise<void> {
    const { run, prefixes, trunkPrefix } = this.#options;
    const facts = await readHostFacts(run);
    const found = findInterfaces({
      facts,
      prefixes,
      trunkPrefix,
      localAddresses: this.#localAddresses,
      known: this.#ports,
    });
    this.#ports = found.ports;
    this.#nobodys = found.nobodys;
    this.#unknown = found.unknown;
    if (JSON.stringify(found.interfaces) !== JSON.stringify(this.#interfaces)) {
      this.#interfaces = found.interfaces;
      if (!this.#stopped) this.#changed();
    }
    const bridged = found.unknown.flatMap(({ address, bridge }) => (bridge === undefined ? [] : [{ address, bridge }]));
    if (bridged.length > 0) await askNeighbours(run, bridged);
  }

  #lookLater(): void {
    if (this.#stopped || (this.#localAddresses.size === 0 && !this.#options.isClosed)) return;
    const isDone = this.#unknown.length === 0 && this.#problem === undefined;
    this.#cancel = this.#options.clock.after(isDone ? IDLE_MS : this.#retryMs, () => void this.look());
    this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2);
  }
}

function interfaceNames(): string {
  try {
    return readdirSync('/sys/class/net').join(' ');
  } catch {
    return '';
  }
}
