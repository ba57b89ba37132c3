/**
 * Which data plane `auto` takes, and when it changes its mind: nftables where nothing speaks against it, else iptables.
 *
 *   nftables --- at once: policies are not enforced as written there (`needs`)        --+
 *            --- after FAILING_MS and FAILING_SYNCS: nothing can be written (`fails`) --+--> iptables
 *   iptables --- nothing has spoken against it for the quiet time --------------------------> nftables
 *
 * The quiet time begins with FIRST_QUIET_MS, and doubles with each leave that follows within CALM_MS of the return before, up to MAX_QUIET_MS:
 * a host that goes to and fro moves less and less often. A move that the other one did not take is tried again after a pause that doubles
 * likewise.
 */

export const DATAPLANES = ['nftables', 'iptables'] as const;
export type DataplaneName = (typeof DATAPLANES)[number];

/** Without a write that went in for so long, and in so many syncs. */
export const FAILING_MS = 10_000;
export const FAILING_SYNCS = 3;
export const FIRST_QUIET_MS = 10_000;
export const MAX_QUIET_MS = 3_600_000;
export const CALM_MS = 3_600_000;
/** After a move that failed. */
const FIRST_PAUSE_MS = 10_000;
const MAX_PAUSE_MS = 600_000;
/** While iptables is in use for what a question to nft would show, it is asked so often. */
const MIN_ASK_MS = 5_000;
const MAX_ASK_MS = 60_000;

/** What speaks against nftables. */
export interface Objection {
  /** `needs`: it cannot do what pods of this node need. `fails`: it cannot be used, or does not take what it is given. */
  readonly kind: 'needs' | 'fails';
  readonly text: string;
}

export interface ChosenDataplane {
  readonly name: DataplaneName;
  readonly why: string;
}

export const NOTHING_AGAINST = 'this host has all that its table needs';

export class DataplaneChooser {
  readonly #now: () => number;
  #inUse: DataplaneName | undefined;
  #objection: Objection | undefined;
  #why = '';
  /** Since when there is that objection, or none. */
  #sinceMs = 0;
  #failedSyncs = 0;
  #quietMs = FIRST_QUIET_MS;
  #returnedMs = Number.NEGATIVE_INFINITY;
  #pauseMs = FIRST_PAUSE_MS;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  get inUse(): DataplaneName | undefined {
    return this.#inUse;
  }

  /** What speaks against nftables, as found last. */
  get objection(): Objection | undefined {
    return this.#objection;
  }

  /** What was found to speak against nftables now. */
  found(objection: Objection | undefined): void {
    const before = this.#objection;
    if (objection?.kind !== before?.kind) this.#sinceMs = this.#now();
    if (objection?.kind !== 'fails') this.#failedSyncs = 0;
    else this.#failedSyncs++;
    this.#objection = objection;
  }

  /** The one to use from now on. */
  wanted(): ChosenDataplane {
    const objection = this.#objection;
    const now = this.#now();
    const best = objection ? { name: 'iptables' as const, why: objection.text } : USES_NFTABLES;
    if (this.#inUse === undefined) return best;
    const stays = { name: this.#inUse, why: this.#why };
    if (best.name === this.#inUse || now < this.#notBeforeMs) return stays;
    const forMs = now - this.#sinceMs;
    if (!objection) return forMs >= this.#quietMs ? best : stays;
    const isSure = objection.kind === 'needs' || (forMs >= FAILING_MS && this.#failedSyncs >= FAILING_SYNCS);
    return isSure ? best : stays;
  }

  /** It is in use. */
  took({ name, why }: ChosenDataplane): void {
    const now = this.#now();
    const isMove = this.#inUse !== undefined && this.#inUse !== name;
    this.#inUse = name;
    this.#why = why;
    this.#pauseMs = FIRST_PAUSE_MS;
    if (!isMove) return;
    if (name === 'nftables') {
      this.#returnedMs = now;
      return;
    }
    const isCalm = now - this.#returnedMs >= CALM_MS;
    this.#quietMs = isCalm ? FIRST_QUIET_MS : Math.min(this.#quietMs * 2, MAX_QUIET_MS);
  }

  /** It could not be taken: the one in use stays for a while. Returns for how long, in milliseconds. */
  refused(): number {
    const pauseMs = this.#pauseMs;
    this.#notBeforeMs = this.#now() + pauseMs;
    this.#pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
    return pauseMs;
  }

  /** When nft is to be asked again, in milliseconds. */
  get askAgainMs(): number {
    const asMuch = this.#objection ? (this.#now() - this.#sinceMs) / 4 : this.#quietMs / 4;
    return Math.min(MAX_ASK_MS, Math.max(MIN_ASK_MS, asMuch));
  }
}

const USES_NFTABLES: ChosenDataplane = { name: 'nftables', why: NOTHING_AGAINST };
