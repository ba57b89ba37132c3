/** What `portcullis lab` writes, and where: results on stdout, everything that is not the result of a JSON run on stderr. */
import type { WriteStream } from 'node:tty';
import { type Paint, type Style, paintFor } from '../../src/cli/paint.ts';

/** What it needs of stdout and stderr. */
export type Terminal = Pick<NodeJS.WriteStream, 'write'> & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>;

export interface ScreenOptions {
  readonly output: 'text' | 'json';
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  /** COLUMNS is the width of a pipe; FORCE_COLOR before NO_COLOR decide about colours. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

const PIPE_WIDTH = 120;
const TERMINAL_WIDTH = 80;
const MIN_WIDTH = 40;
/** Without a terminal only a wait this long is worth a line. */
const SILENT_WAIT_MS = 3_000;
const CLEAR_LINE = '\r\u001B[2K';

export class Screen {
  readonly #options: ScreenOptions;
  readonly #started = performance.now();
  readonly #complaints = new Set<string>();
  #transient = false;
  #waiting: { readonly since: number; readonly text: string; said: boolean } | undefined;

  constructor(options: ScreenOptions) {
    this.#options = options;
  }

  /** Colours for stdout, if it takes any. */
  readonly paint: Paint = (style, text) => this.#colour(style, text, this.#options.stdout);

  /** Colours for stderr. */
  readonly paintError: Paint = (style, text) => this.#colour(style, text, this.#options.stderr);

  /** Columns of a line on stdout. */
  get width(): number {
    const { stdout, env } = this.#options;
    const columns = stdout.isTTY ? stdout.columns || TERMINAL_WIDTH : Number(env.COLUMNS) || PIPE_WIDTH;
    return Math.max(MIN_WIDTH, columns);
  }

  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  /** Part of the story of a text run. */
  say(text: string): void {
    if (this.#options.output === 'text') this.#write(this.#options.stdout, `${text}\n`);
  }

  /** What the user must see in a JSON run, too. */
  note(text: string): void {
    this.#write(this.#options.output === 'text' ? this.#options.stdout : this.#options.stderr, `${text}\n`);
  }

  /** The result of a JSON run. */
  result(text: string): void {
    this.#write(this.#options.stdout, `${text}\n`);
  }

  /** Something is wrong, or was left out. The same text is said once. */
  complain(text: string): void {
    if (this.#complaints.has(text)) return;
    this.#complaints.add(text);
    this.#write(this.#options.stderr, `${this.paintError('yellow', '!')} ${text}\n`);
  }

  /** What is being waited for: a line that the next one replaces. */
  waiting(text: string): void {
    const { stderr } = this.#options;
    if (stderr.isTTY) {
      const line = `... ${text}`.slice(0, (stderr.columns || TERMINAL_WIDTH) - 1);
      stderr.write(`${CLEAR_LINE}${this.paintError('dim', line)}`);
      this.#transient = true;
      return;
    }
    const now = performance.now();
    this.#waiting ??= { since: now, text, said: false };
    if (this.#waiting.said || now - this.#waiting.since < SILENT_WAIT_MS) return;
    this.#waiting.said = true;
    stderr.write(`... ${text}\n`);
  }

  /** Takes the waiting line away. */
  clear(): void {
    if (this.#transient) this.#options.stderr.write(CLEAR_LINE);
    this.#transient = false;
    this.#waiting = undefined;
  }

  #colour(style: Style, text: string, terminal: Terminal): string {
    return paintFor(terminal, this.#options.env)(style, text);
  }

  #write(stream: Terminal, text: string): void {
    this.clear();
    stream.write(text);
  }
}
