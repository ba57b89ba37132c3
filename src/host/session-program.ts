/**
 * A restore tool that stays and is given one input after the other. Behind each input stands a question, the answer to which says that all
 * before it was carried out.
 */
import { CommandFailed, type CommandRequest, type CommandResult, inParts } from './command.ts';
import { type LineProgram, type ProgramEnd, startLineProgram } from './line-program.ts';

/** Much longer than an input takes that is given to such a program. */
const PATIENCE_MS = 1_000;

interface Question {
  readonly line: string;
  /** What it prints then, a line. */
  readonly answer: string;
}

export type SessionOutcome =
  /** `ended`: it did not answer in time, was given no more, and exited 0. */
  | { readonly kind: 'answered' | 'ended'; readonly result: CommandResult }
  /** It names a line of this input, or its time is over. */
  | { readonly kind: 'failed'; readonly error: CommandFailed }
  /** Not known how much was carried out, or why no more. */
  | { readonly kind: 'unclear'; readonly end: ProgramEnd };

export class SessionProgram {
  readonly #program: LineProgram;
  readonly #linePattern: RegExp;
  /** Lines of the inputs before, questions included. */
  #lines = 0;
  #end: ProgramEnd | undefined;
  readonly #over = Promise.withResolvers<void>();
  #onLine = (_line: string): void => {};
  #onEnd = (): void => {};
  hasAnswered = false;

  /** `linePattern`, global: how it says which line, counted from its start on, was refused. */
  constructor(argv: CommandRequest['argv'], linePattern: RegExp) {
    this.#linePattern = linePattern;
    this.#program = startLineProgram({
      // Into a pipe it would print when it ends.
      argv: ['stdbuf', '-oL', ...argv],
      guarded: false,
      onLine: (line) => this.#onLine(line),
      ended: (end) => {
        this.#end = end;
        this.#over.resolve();
        this.#onEnd();
      },
    });
  }

  /** It has ended, or never began. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** Lines it was given so far. */
  get lines(): number {
    return this.#lines;
  }

  /** Closes its input. Resolves when it has ended. */
  end(): Promise<void> {
    this.#program.endInput();
    return this.#over.promise;
  }

  /** One input at a time. */
  async carryOut(request: CommandRequest, { line: question, answer: expected }: Question): Promise<SessionOutcome> {
    const startedMs = performance.now();
    const parts = inParts(request);
    const firstLine = this.#lines + 1;
    this.#lines += countLines(parts) + 1;
    let isClosed = false;
    let isKilled = false;
    const answer = Promise.withResolvers<'answered' | ProgramEnd>();
    const limit = setTimeout(() => {
      isKilled = true;
      this.#program.kill();
    }, request.timeoutMs);
    let patience: NodeJS.Timeout | undefined;
    this.#onLine = (line) => {
      if (line === expected && !isClosed) answer.resolve('answered');
    };
    this.#onEnd = () => answer.resolve(this.#end!);
    if (this.#end) this.#onEnd();
    const isWritten = this.#program.write([...parts.slice(0, -1), `${parts.at(-1) ?? ''}${question}\n`]);
    void isWritten.then(() => {
      patience = setTimeout(() => {
        isClosed = true;
        this.#program.endInput();
      }, PATIENCE_MS);
    });
    const how = await answer.promise;
    clearTimeout(limit);
    await isWritten;
    clearTimeout(patience);
    const result = { stdout: '', stderr: '', durationMs: performance.now() - startedMs };
    if (how === 'answered') {
      this.hasAnswered = true;
      return { kind: 'answered', result };
    }
    if (isKilled) return { kind: 'failed', error: new CommandFailed(request, 'timeout', null, how.complaint) };
    if (isClosed && how.code === 0) return { kind: 'ended', result };
    const complaint = this.#complaintOf(how, firstLine);
    if (complaint === undefined) return { kind: 'unclear', end: how };
    return { kind: 'failed', error: new CommandFailed(request, 'exit', how.code, complaint) };
  }

  /** What it says of lines from `first` to before the question, which are counted from 1 on. */
  #complaintOf({ code, complaint }: ProgramEnd, first: number): string | undefined {
    const isOfInput = (line: number): boolean => line >= first && line < this.#lines;
    const [named] = complaint.matchAll(this.#linePattern);
    if (!code || !named || !isOfInput(Number(named[1]))) return undefined;
    return complaint.replaceAll(this.#linePattern, (text, line: string) =>
      text.replace(line, String(Number(line) - first + 1)),
    );
  }
}

function countLines(parts: readonly string[]): number {
  let count = 0;
  for (const part of parts) for (let at = part.indexOf('\n'); at >= 0; at = part.indexOf('\n', at + 1)) count++;
  return count;
}
