/**
 * Epochs that no live flow carries. The mark has few bits for them, so they are used again: a flow that was silent since its own epoch,
 * and is denied today, would pass when that epoch is in force once more. An epoch is free when conntrack lists no flow with its mark
 * while another one is in force, and stays free until it is used, because nothing stamps it. The search goes on ahead of need, a command
 * at a time with pauses between; a change never waits for it. Where no epoch is known to be free, every packet of live flows is judged
 * until one is (EVERY_PACKET): that costs time, never a verdict.
 */
import { FAMILIES, type Family } from '../core/vocabulary.ts';
import type { EpochListener, EpochState } from './listener.ts';
import type { MarkBits } from './mark-bits.ts';

import { EVERY_PACKET, deniedBit, epochCount, markOf } from './mark-bits.ts';
import { messageOf } from '../core/error-text.ts';

/** Of host/flow-marks.ts. */
interface FlowMarks {
  count(family: Family, carried: { readonly value: number; readonly mask: number }): Promise<number>;
  clearSome(family: Family, carried: { readonly value: number; readonly mask: number }, bits: number): Promise<void>;
}

interface FreeEpochsOptions extends Partial<EpochListener> {
  readonly marks: MarkBits;
  readonly flows: FlowMarks;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Calls back once after `ms`; the returned function cancels. */
  readonly after: (ms: number, callback: () => void) => () => void;
}

/** With fewer free ones the search begins, and ends with so many. */
const MIN_FREE = 4;
const MAX_FREE = 16;
/** Of one look around, each a walk through the table of flows. */
const MAX_QUERIES = 12;
/** Goes at clearing epochs before another look around. */
const CLEARING_GOES = 8;
const FEW_EPOCHS = 15;
/** After a command, so many times as long as it took, nothing is done. */
const REST = 4;
/** The same while none is free. */
const URGENT_REST = 2;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 30_000;
/** While every packet is judged. */
const MAX_URGENT_PAUSE_MS = 5_000;
/** What was found so shortly ago is not asked for again. */
const FRESH_MS = 1_000;
/** At start nothing is known; a first sync that has something to take away is worth waiting a little for. */
const FIRST_LOOK_MS = 500;

/** Whose flows carry an epoch: those of one family, or of both where they have their epochs in common. */
export type EpochScope = Family | 'both';

/** What a sync asks. */
export type EpochSource = Pick<FreeEpochs, 'inForce' | 'next' | 'firstLook' | 'recheck'>;

export class FreeEpochs {
  readonly #options: FreeEpochsOptions;
  readonly #rings: Readonly<Record<EpochScope, EpochRing>>;
  #onFound = (): void => {};
  #hasLooked = false;

  constructor(options: FreeEpochsOptions) {
    this.#options = options;
    const found = (): void => this.#onFound();
    const ring = (families: readonly Family[]): EpochRing => new EpochRing(families, options, found);
    this.#rings = { 4: ring([4]), 6: ring([6]), both: ring(FAMILIES) };
  }

  /** Called when a free epoch was found while every packet is judged. */
  onFound(callback: () => void): void {
    this.#onFound = callback;
  }

  /**
   * Before the first sync: begins to look, by the epochs with which rules stamp flows now (undefined: with none). One answer for many epochs
   * is worth more than the oldest.
   */
  lookAhead(stamped: ReadonlyMap<Family, number | undefined>): void {
    for (const [family, epoch] of stamped) this.#rings[family].lookAhead(epoch);
  }

  /** Tells which epoch is in force, EVERY_PACKET included (undefined: no rules yet), and sees to it that the next ones are known. */
  inForce(scope: EpochScope, epoch: number | undefined): void {
    this.#rings[scope].inForce(epoch);
  }

  /** The epoch to go to: a free one, or EVERY_PACKET. */
  next(scope: EpochScope): number {
    return this.#rings[scope].next();
  }

  /** The first time: until a free epoch of each was found, all were looked for once, or that takes too long. Never rejects. */
  async firstLook(scopes: readonly EpochScope[]): Promise<void> {
    if (this.#hasLooked) return;
    this.#hasLooked = true;
    const looks = Promise.all(scopes.map((scope) => this.#rings[scope].firstLook));
    await new Promise<void>((resolve) => {
      const cancel = this.#options.after(FIRST_LOOK_MS, resolve);
      void looks.then(() => {
        cancel();
        resolve();
      });
    });
  }

  /** Rules that stood beside these have stamped flows: what was found before does not count. */
  forget(): void {
    for (const ring of Object.values(this.#rings)) ring.forget();
  }

  /** Makes sure that the epoch to be used next is still free. */
  recheck(scope: EpochScope): void {
    void this.#rings[scope].recheck();
  }

  state(scope: EpochScope): EpochState {
    return this.#rings[scope].state();
  }
}

/** The epochs of these families' flows, 1 to `#count`, going round. */
class EpochRing {
  readonly #families: readonly Family[];
  readonly #options: FreeEpochsOptions;
  readonly #onFound: () => void;
  readonly #count: number;
  readonly #free = new Set<number>();
  #current: number | undefined;
  /** The last that was in force: the one after it is the oldest. */
  #last = 0;
  #offered: number | undefined;
  /** Which of those that are carried are cleared next. */
  #nextToClear = 0;
  /** Another number: what was asked before does not count. */
  #version = 0;
  /** How often another epoch came into force. */
  #changes = 0;
  #isSearching = false;
  #isFirstLook = true;
  /** When the search last ended. */
  #foundAtMs = Number.NEGATIVE_INFINITY;
  /** The first look takes the largest blocks first. */
  #isAhead = false;
  #problem: string | undefined;
  #wake = (): void => {};
  #endFirstLook = (): void => {};
  readonly firstLook: Promise<void>;

  constructor(families: readonly Family[], options: FreeEpochsOptions, onFound: () => void) {
    this.#families = families;
    this.#options = options;
    this.#onFound = onFound;
    this.#count = epochCount(options.marks);
    this.firstLook = new Promise((resolve) => {
      this.#endFirstLook = resolve;
    });
  }

  state(): EpochState {
    const current = this.#current === EVERY_PACKET ? 'none' : this.#current;
    return { current, total: this.#count, free: this.#free.size, problem: this.#problem };
  }

  inForce(epoch: number | undefined): void {
    if (epoch !== this.#current) {
      // Somebody else's rules may have stamped any.
      if (epoch !== undefined && epoch !== EVERY_PACKET && epoch !== this.#offered) this.forget();
      this.#current = epoch;
      if (epoch !== undefined && epoch !== EVERY_PACKET) {
        this.#last = epoch;
        this.#free.delete(epoch);
      }
      this.#changes++;
      this.#tell();
      this.#wake();
      if (epoch === EVERY_PACKET && this.#free.size > 0) this.#onFound();
    }
    if (!this.#isSearching && this.#free.size < this.#fewest) void this.#search();
  }

  lookAhead(epoch: number | undefined): void {
    this.#isAhead = true;
    this.inForce(epoch);
  }

  next(): number {
    this.#offered = this.#oldestFree() ?? EVERY_PACKET;
    return this.#offered;
  }

  async recheck(): Promise<void> {
    const version = this.#version;
    const epoch = this.#oldestFree();
    if (epoch === undefined || this.#isSearching || this.#options.now() - this.#foundAtMs < FRESH_MS) return;
    let carriers: readonly Family[];
    try {
      carriers = await this.#carriersOf(epoch, 1);
    } catch {
      // The next search tells.
      return;
    }
    if (carriers.length === 0 || version !== this.#version || !this.#free.has(epoch)) return;
    this.forget();
    for (const family of carriers) this.#options.onForeignMark?.(family, epoch);
    this.#tell();
    if (!this.#isSearching) void this.#search();
  }

  get #fewest(): number {
    return Math.min(MIN_FREE, this.#count - 1);
  }

  /** Of few epochs most were in force a moment ago: time alone makes them free. */
  get #leastToClear(): number {
    return this.#count < FEW_EPOCHS ? 1 : this.#fewest;
  }

  /** At once. */
  get #mostToClear(): number {
    return this.#count < FEW_EPOCHS ? 1 : MAX_FREE;
  }

  /** All but the one in force, the oldest first. */
  *#others(): Iterable<number> {
    for (let index = 0; index < this.#count; index++) {
      const epoch = ((this.#last + index) % this.#count) + 1;
      if (epoch !== this.#current) yield epoch;
    }
  }

  /** Asked with each sync. */
  #oldestFree(): number | undefined {
    if (this.#free.size > 0) for (const epoch of this.#others()) if (this.#free.has(epoch)) return epoch;
    return undefined;
  }

  #notKnownFree(): readonly number[] {
    return [...this.#others()].filter((epoch) => !this.#free.has(epoch));
  }

  /** The next sync that tells what is in force begins to search. */
  forget(): void {
    this.#free.clear();
    this.#version++;
  }

  #tell(): void {
    for (const family of this.#families) this.#options.onEpochs?.(family, this.state());
  }

  /** Until enough are known. */
  async #search(): Promise<void> {
    this.#isSearching = true;
    for (let pauseMs = FIRST_PAUSE_MS; this.#free.size < this.#fewest; ) {
      const [before, changes] = [this.#free.size, this.#changes];
      const { problem } = await this.#tryToFind();
      this.#isFirstLook = false;
      this.#isAhead = false;
      this.#endFirstLook();
      const isNews = this.#free.size !== before || problem !== this.#problem;
      this.#problem = problem;
      if (isNews) this.#tell();
      if (this.#free.size > 0 && this.#current === EVERY_PACKET) this.#onFound();
      if (this.#free.size >= this.#fewest) break;
      const longestMs = this.#free.size === 0 ? MAX_URGENT_PAUSE_MS : MAX_PAUSE_MS;
      if (changes === this.#changes) await this.#pause(Math.min(pauseMs, longestMs));
      pauseMs = changes === this.#changes ? pauseMs * 2 : FIRST_PAUSE_MS;
    }
    this.#isSearching = false;
    this.#foundAtMs = this.#options.now();
  }

  async #tryToFind(): Promise<{ readonly problem: string | undefined }> {
    try {
      await this.#lookAround();
      if (this.#free.size < this.#leastToClear) await this.#makeFree();
      return { problem: this.#free.size > 0 ? undefined : `live flows carry every epoch that was looked at` };
    } catch (error) {
      return { problem: messageOf(error) };
    }
  }

  /** Asks for many epochs at once, and for parts of those of which some is carried. */
  async #lookAround(): Promise<void> {
    const version = this.#version;
    const bySize = (left: Block, right: Block): number => right.size - left.size;
    const queue = [...blocks(this.#notKnownFree())];
    if (this.#isAhead) queue.sort(bySize);
    for (let queries = 0; queue.length > 0 && queries < MAX_QUERIES && this.#free.size < MAX_FREE; queries++) {
      const { first, size } = queue.shift()!;
      const carriers = await this.#carriersOf(first, size);
      if (version !== this.#version) return;
      if (carriers.length === 0) {
        for (let epoch = first; epoch < first + size; epoch++) this.#free.add(epoch);
        // One is enough for a first sync.
        this.#endFirstLook();
      } else if (size > 1) {
        const half = size / 2;
        const halves = [first, first + half].map((start) => ({ first: start, size: half }));
        if (this.#isAhead) queue.push(...halves);
        else queue.unshift(...halves);
        if (this.#isAhead) queue.sort(bySize);
      }
    }
  }

  /** Takes their marks off the flows of some old epochs: they are judged with their next packet. */
  async #makeFree(): Promise<void> {
    const carried = [...blocks(this.#notKnownFree(), this.#mostToClear)];
    const start = this.#nextToClear;
    let goes = CLEARING_GOES;
    for (let place = 0; place < carried.length && goes > 0 && this.#free.size < this.#leastToClear; place++) {
      goes = await this.#makeBlockFree(carried[(start + place) % carried.length]!, goes);
      // So many flows carry these, or they cannot be changed: others may be easier the next time.
      if (goes === 0) this.#nextToClear = (start + place + 1) % carried.length;
    }
  }

  /** Clears, and looks whether all is cleared, at most `goes` times; returns how often it may go on. */
  async #makeBlockFree({ first, size }: Block, goes: number): Promise<number> {
    const version = this.#version;
    for (let left = goes; left > 0; left--) {
      await this.#clear(first, size);
      const carriers = await this.#carriersOf(first, size);
      if (version !== this.#version) return 0;
      if (carriers.length > 0) continue;
      for (let epoch = first; epoch < first + size; epoch++) if (epoch !== this.#current) this.#free.add(epoch);
      return left - 1;
    }
    return 0;
  }

  async #clear(first: number, size: number): Promise<void> {
    const { flows, marks } = this.#options;
    for (const family of this.#families)
      await this.#timed(() => flows.clearSome(family, this.#markOf(first, size), epochBits(marks)));
  }

  /** The families of which a flow carries one of `size` epochs. */
  async #carriersOf(first: number, size: number): Promise<readonly Family[]> {
    const { flows } = this.#options;
    const found: Family[] = [];
    for (const family of this.#families)
      if ((await this.#timed(() => flows.count(family, this.#markOf(first, size)))) > 0) found.push(family);
    return found;
  }

  /** The mark of flows that were judged, and not denied, in one of `size` epochs; `first` is a multiple of that. */
  #markOf(first: number, size: number): { readonly value: number; readonly mask: number } {
    const { marks } = this.#options;
    return { value: markOf(first, marks), mask: (marks.mask & ~markOf(size - 1, marks)) >>> 0 };
  }

  /** Others may use the processor for longer than this took. */
  async #timed<T>(command: () => Promise<T>): Promise<T> {
    const { now, after } = this.#options;
    const started = now();
    const result = await command();
    if (this.#isFirstLook) return result;
    const rest = this.#free.size === 0 ? URGENT_REST : REST;
    await new Promise<void>((resolve) => void after(rest * (now() - started), resolve));
    return result;
  }

  /** Ends before its time when another epoch comes into force. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
}

function epochBits(marks: MarkBits): number {
  return (marks.mask & ~deniedBit(marks)) >>> 0;
}

interface Block {
  readonly first: number;
  readonly size: number;
}

/** Runs of epochs as blocks of 2^n that begin at a multiple of it: one mask stands for each. */
function* blocks(epochs: readonly number[], maxSize = Number.POSITIVE_INFINITY): Iterable<Block> {
  for (let index = 0; index < epochs.length; ) {
    const first = epochs[index]!;
    let size = 1;
    while (size < maxSize && first % (size * 2) === 0 && epochs[index + size * 2 - 1] === first + size * 2 - 1)
      size *= 2;
    yield { first, size };
    index += size;
  }
}
