/**
 * One `nft -i` that stays and is given one transaction after the other (docs/decisions/an-nft-that-stays.md): a line of commands is a
 * transaction, and what it prints before the answer to a question is what the kernel complains of.
 */
import type { LineProgram } from '../../../host/line-program.ts';

import { startLineProgram } from '../../../host/line-program.ts';

/**
 * A longer line goes another way: when this process is killed in the middle of a write, what is there of a line would be carried out. The
 * stream socket of a child takes half its send buffer (net.core.wmem_default, 212,992 bytes) as one.
 */
export const MAX_LINE_BYTES = 16_384;
/** Much longer than such a line takes. */
const PATIENCE_MS = 5_000;
/** Answered without asking the kernel. */
const QUESTION = 'describe tcp dport';
const ANSWER = /^payload expression, datatype inet_service/;

export type SessionOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly complaint: string }
  /** Not known how much was carried out. */
  | { readonly kind: 'unclear'; readonly complaint: string };

export class NftSession {
  #program: LineProgram | undefined;
  #onLine = (_line: string): void => {};
  #onEnd = (_complaint: string): void => {};
  readonly #start: typeof startLineProgram;
  readonly #inside: readonly string[];

  /** `inside`: a command that runs the one behind it elsewhere, in a network namespace say. */
  constructor(start: typeof startLineProgram = startLineProgram, inside: readonly string[] = []) {
    this.#start = start;
    this.#inside = inside;
  }

  /** One at a time. `patienceMs`: without an answer for so long, nft is ended. */
  async transact(line: string, patienceMs = PATIENCE_MS): Promise<SessionOutcome> {
    const program = this.#running();
    const printed: string[] = [];
    const answer = Promise.withResolvers<SessionOutcome>();
    this.#onLine = (text) => {
      if (!ANSWER.test(text)) printed.push(text);
      else answer.resolve(printed.length === 0 ? { kind: 'done' } : { kind: 'refused', complaint: printed.join('\n') });
    };
    this.#onEnd = (complaint) => answer.resolve({ kind: 'unclear', complaint: complaint || 'nft ended' });
    const limit = setTimeout(() => {
      answer.resolve({ kind: 'unclear', complaint: `no answer after ${patienceMs} ms` });
      this.stop();
    }, patienceMs);
    void program.write([`${line}\n${QUESTION}\n`]);
    const outcome = await answer.promise;
    clearTimeout(limit);
    this.#onLine = () => {};
    this.#onEnd = () => {};
    return outcome;
  }

  stop(): void {
    this.#program?.kill();
    this.#program = undefined;
  }

  #running(): LineProgram {
    if (this.#program) return this.#program;
    const program: LineProgram = this.#start({
      // Complaints stand where they were made among the answers.
      argv: ['sh', '-c', 'exec "$@" nft -i 2>&1', 'sh', ...this.#inside],
      // It would read and write a history of its commands there.
      env: { HOME: '/nonexistent' },
      guarded: false,
      onLine: (line) => program === this.#program && this.#onLine(line),
      ended: ({ complaint }) => {
        if (program !== this.#program) return;
        this.#program = undefined;
        this.#onEnd(complaint);
      },
    });
    this.#program = program;
    return program;
  }
}
