/**
 * Generations that no live flow carries. Their number is small and they are used again; a flow that said nothing since its own
 * turn would then be taken for one that was judged under the rules of today.
 */
import type { Family } from '../net/ip.ts';
import type { MarkBits } from '../render/ruleset.ts';

import { nextGeneration } from '../plan/generation.ts';
import { deniedBit, generationCount } from '../render/write-text.ts';

/** Of kernel/flow-marks.ts. */
interface FlowMarks {
  isCarried(family: Family, value: number, mask: number): Promise<boolean>;
  clear(family: Family, value: number, mask: number): Promise<void>;
}

export interface SpareGenerationsOptions {
  readonly marks: MarkBits;
  readonly flows: FlowMarks;
  /** Told once per message: what cannot be made sure of, and why. */
  readonly onDoubt: (message: string) => void;
  /** Calls back once after `ms`; the returned function cancels. */
  readonly after: (ms: number, callback: () => void) => () => void;
}

const MAX_WAIT_MS = 500;
/** Each costs a walk through the table of live flows. */
const MAX_TRIED = 8;

export class SpareGenerations {
  readonly #options: SpareGenerationsOptions;
  readonly #found = new Map<
    Family,
    { readonly from: number; readonly not: number | undefined; spare: Promise<number> }
  >();
  readonly #doubts = new Set<string>();

  constructor(options: SpareGenerationsOptions) {
    this.#options = options;
  }

  /**
   * The first generation from `from` on, going round, that no flow carries, and that is not `not`. Looked for once: ask ahead of
   * time, and the answer is there. `from` itself when that cannot be found out, or not soon. Never rejects.
   */
  find(family: Family, from: number, not: number | undefined): Promise<number> {
    return this.#soon(this.#search(family, from, not), from);
  }

  /** A change that takes something away does not wait longer than it is worth. */
  #soon(spare: Promise<number>, otherwise: number): Promise<number> {
    return new Promise((resolve) => {
      const cancel = this.#options.after(MAX_WAIT_MS, () => {
        this.#doubt(`live flows could not be listed within ${MAX_WAIT_MS} ms`);
        resolve(otherwise);
      });
      void spare.then((generation) => {
        cancel();
        resolve(generation);
      });
    });
  }

  #search(family: Family, from: number, not: number | undefined): Promise<number> {
    const known = this.#found.get(family);
    if (known && known.from === from && known.not === not) return known.spare;
    const spare = this.#look(family, from, not).catch((error: unknown) => {
      this.#doubt(error instanceof Error ? error.message : String(error));
      return from;
    });
    this.#found.set(family, { from, not, spare });
    return spare;
  }

  async #look(family: Family, from: number, not: number | undefined): Promise<number> {
    const { marks, flows } = this.#options;
    const mask = marks.mask >>> 0;
    const bits = (generation: number): number => (generation * deniedBit(marks) * 2) >>> 0;
    let generation = from;
    for (let tried = Math.min(MAX_TRIED, generationCount(marks)); tried > 0; tried--) {
      if (generation !== not && !(await flows.isCarried(family, bits(generation), mask))) return generation;
      generation = nextGeneration(generation, marks);
    }
    // The oldest first: flows that said nothing since are made to be judged anew.
    await flows.clear(family, bits(from), mask);
    if (await flows.isCarried(family, bits(from), mask)) {
      this.#doubt('live flows carry all the next generations of the connection mark');
    }
    return from;
  }

  #doubt(why: string): void {
    if (this.#doubts.has(why)) return;
    this.#doubts.add(why);
    this.#options.onDoubt(why);
  }
}
