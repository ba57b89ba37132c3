/** Learns where local pods are attached, and looks again while any is not known. */
import { readdirSync } from 'node:fs';
import type { InterfaceSource } from '../agent/agent.ts';
import type { RunCommand } from './command.ts';
import { NO_INTERFACES, type PodInterfaces } from './pod-interfaces.ts';
import type { ConditionState } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';

import { findInterfaces, type FoundInterfaces, type KnownPort } from './pod-interfaces.ts';
import { askNeighbours, readHostFacts } from './read-interfaces.ts';

/** A pod answers who it is within milliseconds once it runs; one that does not is asked less and less often. */
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 10_000;
/** Interfaces change with pods; what changes otherwise is found this late. */
const IDLE_MS = 30_000;
/** One look at the names of all interfaces takes less than a tenth of a millisecond. */
const NAMES_MS = 200;
/** Named in one line of the log and of /readyz; the others are counted. */
const MAX_NAMED = 5;

export interface InterfaceWatchOptions {
  readonly run: RunCommand;
  readonly prefixes: readonly string[];
  readonly trunkPrefix: string;
  /** Rules keep new pods out: a bridge that appears is looked at at once. */
  readonly isClosed: boolean;
  readonly log: Logger;
  readonly after: (ms: number, callback: () => void) => () => void;
}

export interface InterfaceWatch extends InterfaceSource {
  readonly condition: () => ConditionState;
  stop(): void;
}

export function watchInterfaces(options: InterfaceWatchOptions): InterfaceWatch {
  return new Watch(options);
}

class Watch implements InterfaceWatch {
  readonly #options: InterfaceWatchOptions;
  #localAddresses: ReadonlyMap<string, string> = new Map();
  #interfaces: PodInterfaces = NO_INTERFACES;
  #ports: ReadonlyMap<string, KnownPort> = new Map();
  #unknown: FoundInterfaces['unknown'] = [];
  #nobodys: readonly string[] = [];
  #problem: string | undefined;
  #reported = '';
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
    this.#cancelNames = this.#options.after(NAMES_MS, () => this.#watchNames(names));
  }

  of(localAddresses: ReadonlyMap<string, string>): PodInterfaces {
    if (localAddresses !== this.#localAddresses) {
      this.#localAddresses = localAddresses;
      this.#retryMs = FIRST_RETRY_MS;
      void this.look();
    }
    return this.#interfaces;
  }

  onChange(callback: () => void): void {
    this.#changed = callback;
  }

  async look(): Promise<void> {
    this.#again = this.#looking;
    if (this.#looking || this.#stopped) return;
    this.#cancel();
    this.#looking = true;
    try {
      await this.#read();
      this.#problem = undefined;
    } catch (error) {
      this.#problem = error instanceof Error ? error.message : String(error);
    }
    this.#looking = false;
    this.#report();
    if (this.#again) void this.look();
    else this.#lookLater();
  }

  readonly condition = (): ConditionState => ({ ok: true, reason: this.#text() });

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
    this.#cancel = this.#options.after(isDone ? IDLE_MS : this.#retryMs, () => void this.look());
    this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2);
  }

  /** A pod that has just come needs a moment; what lasts is told. */
  #report(): void {
    const isNew = this.#retryMs < MAX_RETRY_MS;
    if (isNew && (this.#unknown.length > 0 || this.#problem !== undefined)) return;
    const text = this.#text();
    if (text === this.#reported) return;
    this.#reported = text;
    if (this.#isWhole()) this.#options.log.info(text);
    else this.#options.log.warn(text);
  }

  #isWhole(): boolean {
    return this.#problem === undefined && this.#unknown.length === 0;
  }

  #text(): string {
    const limit =
      'what such a pod sends from, or gets at, an address that is not in its podIPs (link-local, multicast, broadcast, a second ' +
      'interface) is NOT judged by its policies';
    if (this.#problem !== undefined) return `cannot tell pods' interfaces (${this.#problem}); ${limit}`;
    const pods = [...new Set(this.#unknown.map(({ pod }) => pod))].sort();
    const strangers =
      this.#nobodys.length === 0 ? '' : `; interfaces of no pod of this node that is known: ${named(this.#nobodys)}`;
    if (pods.length > 0) return `the interface of ${named(pods)} is not known; ${limit}${strangers}`;
    return `the interfaces of all pods are known${strangers}`;
  }
}

function interfaceNames(): string {
  try {
    return readdirSync('/sys/class/net').join(' ');
  } catch {
    return '';
  }
}

function named(names: readonly string[]): string {
  const rest = names.length - MAX_NAMED;
  return names.slice(0, MAX_NAMED).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
