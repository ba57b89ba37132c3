/**
 * Tells commits to nf_tables that are ours from others' (netfilter-monitor.ts). A process number does not: the kernel's is another one
 * than ours inside a container. So each commit of ours pays for one change that looks like it; whatever is left over is somebody else's.
 * A commit of others that slips in under ours leaves ours over, so something is always looked at.
 */
import type { Family } from '../net/ip.ts';
import type { NetfilterChange } from '../plan/read-events.ts';

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
  /** When the commits that ended and were not yet told of are given up. */
  readonly untold: number[];
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
    if (isDone && isTellable && !account.isTold) account.untold.push(this.#now() + PATIENCE_MS);
    account.isOpen = false;
  }

  isOurs({ family, program }: NetfilterChange): boolean {
    const account = this.#accounts[family];
    if (program !== WRITERS[family]) return false;
    if (account.untold.shift() !== undefined) return true;
    if (!account.isOpen || account.isTold) return false;
    account.isTold = true;
    return true;
  }

  /** Whether a commit of ours was never told of: then others' may not have been either. Told once. */
  isMissed(family: Family): boolean {
    const { untold } = this.#accounts[family];
    const [patienceEnds] = untold;
    if (patienceEnds === undefined || patienceEnds > this.#now()) return false;
    this.forget(family);
    return true;
  }

  /** Nobody listens any more: what was not told of will not be. */
  forget(family: Family): void {
    this.#accounts[family].untold.length = 0;
  }
}
