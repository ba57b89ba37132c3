/** What `nft monitor` prints: the changes of a transaction, then who committed it. */

import { TABLE_FAMILIES } from './families.ts';

export interface Committed {
  /** Cut to 15 characters by the kernel. */
  readonly program: string;
}

export class EventReader {
  readonly #mention: RegExp;
  #isOurs = false;

  constructor(table: string) {
    this.#mention = new RegExp(`^(?:add|insert|replace|delete|flush) \\w+ (?:${TABLE_FAMILIES.join('|')}) ${table}\\b`);
  }

  /** At the end of a transaction that touched the table. */
  line(text: string): Committed | undefined {
    if (this.#mention.test(text)) this.#isOurs = true;
    const [, program] = /^# new generation \d+ by process \d+ \((.*)\)$/.exec(text) ?? [];
    if (program === undefined) return undefined;
    const touched = this.#isOurs;
    this.#isOurs = false;
    return touched ? { program } : undefined;
  }
}
