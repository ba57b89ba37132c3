/**
 * Tells commits to nf_tables that are ours from others' (netfilter-monitor.ts). A process number does not: the kernel's is another one
 * than ours inside a container. So each commit of ours pays for one change that looks like it; whatever is left over is somebody else's.
 * A commit of others that slips in under ours leaves ours over, so something is always looked at.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { NetfilterChange } from './read-events.ts';

/** What was written is told of within milliseconds; on a starved machine later. */
const PATIENCE_MS = 3_000;
/** What the kernel keeps of a program's name (TASK_COMM_LEN less the NUL). */
const MAX_PROGRAM = 15;
const WRITERS: Readonly<Record<Family, string>> = {
  4: 'iptables-nft-restore'.slice(0, MAX_PROGRAM),
  6: 'ip6tables-nft-restore'.slice(0, MAX_PROGRAM),
};

interface Account {
  /** A commit is on its way. */
  isOpen: boolean;
  /** It was told of already. */
  isTold: boolean;
  /** Commits that ended and were not yet told of; `isOwed`: somebody listened from the beginning on. */
  readonly untold: { readonly untilMs: number; readonly isOwed: boolean }[];
}

export class OwnCommits {
  readonly #accounts: Readonly<Record<Family, Account>> = {
    4: { isOpen: false, isTold: false, untold: [] },
    6: { isOpen: false, isTold: false, untold: [] },
  };
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  began(family: Family): void {
    const account = this.#accounts[family];
    account.isOpen = true;
    account.isTold = false;
  }

  /** `isTellable`: somebody listened from its beginning on. */
  ended(family: Family, isDone: boolean, isTellable: boolean): void {
    const account = this.#accounts[family];
    this.#giveUp(account);
    // One that has just begun to listen may tell of it or not.
    if (isDone && !account.isTold) account.untold.push({ untilMs: this.#now() + PATIENCE_MS, isOwed: isTellable });
    account.isOpen = false;
  }

  isOurs({ family, program }: NetfilterChange): boolean {
    const account = this.#accounts[family];
    if (program !== WRITERS[family]) return false;
    this.#giveUp(account);
    if (account.untold.shift() !== undefined) return true;
    if (!account.isOpen || account.isTold) return false;
    account.isTold = true;
    return true;
  }

  /** Whether a commit of ours was never told of: then others' may not have been either. Told once. */
  isMissed(family: Family): boolean {
    const { untold } = this.#accounts[family];
    const now = this.#now();
    if (!untold.some(({ untilMs, isOwed }) => isOwed && untilMs <= now)) return false;
    this.forget(family);
    return true;
  }

  /** Nobody listens any more: what was not told of will not be. */
  forget(family: Family): void {
    this.#accounts[family].untold.length = 0;
  }

  /** Those that nobody had to tell of. */
  #giveUp({ untold }: Account): void {
    while (untold[0] && !untold[0].isOwed && untold[0].untilMs <= this.#now()) untold.shift();
  }
}
