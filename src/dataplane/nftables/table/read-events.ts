/** The changes of a transaction, then who committed it: as the kernel tells it, or as `nft monitor` prints that. */
import { commitFilter } from '../../commit-filter.ts';
import { type CommitMessage, FAMILY_NUMBERS, readCommitMessages } from '../../commit-messages.ts';
import { TABLE_FAMILIES } from './families.ts';

export interface Committed {
  /** Cut to 15 characters by the kernel. */
  readonly program: string;
  /** Of the socket it was committed by. Absent: that is not printed. */
  readonly port?: number;
}

const FAMILIES: ReadonlySet<number> = new Set(TABLE_FAMILIES.map((family) => FAMILY_NUMBERS[family]));

/** Of what the kernel tells, as much as there is to read. */
export function filterOf(table: string): Uint8Array {
  return commitFilter(table, [...FAMILIES]);
}

export class EventReader {
  readonly #table: string;
  readonly #mention: RegExp;
  #isOurs = false;
  #heard: number | undefined;

  constructor(table: string) {
    this.#table = table;
    this.#mention = new RegExp(
      `^(?:add|insert|replace|delete|flush) \\w+ (?:${TABLE_FAMILIES.join('|')}) ${table}(?= |$)`,
    );
  }

  /** Of the last commit that was told of, whatever it was about, or that there was when it was asked for the first time. */
  get heard(): number | undefined {
    return this.#heard;
  }

  /**
   * Each transaction that ends in these messages and touched the table. `asker`: the port of who asks which generation there is; `onAnswer`
   * gets that.
   */
  messages(bytes: Uint8Array, asker?: number, onAnswer?: (generation: number) => void): readonly Committed[] {
    const ended: Committed[] = [];
    const onMessage = (message: CommitMessage): void => {
      switch (message.kind) {
        case 'changed':
          this.#isOurs ||= message.table === this.#table && FAMILIES.has(message.family);
          break;
        case 'unreadable':
          this.#isOurs = true;
          break;
        case 'committed':
          // It may come in the middle of a transaction.
          if (message.port === asker) {
            this.#heard ??= message.generation;
            onAnswer?.(message.generation);
            return;
          }
          this.#heard = message.generation;
          if (this.#isOurs) ended.push({ program: message.program, port: message.port });
          this.#isOurs = false;
      }
    };
    readCommitMessages(bytes, onMessage, () => this.#isOurs);
    return ended;
  }

  /** A line of `nft monitor`: the transaction that it ends, if that touched the table. */
  line(text: string): Committed | undefined {
    if (this.#mention.test(text)) this.#isOurs = true;
    const [, program] = /^# new generation \d+ by process \d+ \((.*)\)$/.exec(text) ?? [];
    if (program === undefined) return undefined;
    const touched = this.#isOurs;
    this.#isOurs = false;
    return touched ? { program } : undefined;
  }
}
