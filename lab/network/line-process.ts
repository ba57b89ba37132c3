/** A child process that answers one line per line, matched by an ID; what the prober and the relay have in common. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

const MAX_STDERR_CHARACTERS = 4096;
/** An idle script ends within milliseconds of its stdin; one that does not is killed. */
const STOP_TIMEOUT_MS = 1000;

interface Waiting {
  readonly resolve: (fields: readonly string[]) => void;
  readonly reject: (error: Error) => void;
}

export class LineProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #label: string;
  readonly #waiting = new Map<string, Waiting>();
  readonly #ended: Promise<void>;
  #lastId = 0;
  #partial = '';
  #stderr = '';
  /** Why no answer will come any more. */
  #over: Error | undefined;

  /** `label` names it in errors. */
  constructor(label: string, argv: readonly [string, ...string[]]) {
    this.#label = label;
    const [program, ...args] = argv;
    this.#child = spawn(program, args, { stdio: 'pipe' });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-MAX_STDERR_CHARACTERS);
    });
    // Writing to a process that has just ended; its 'close' says so.
    this.#child.stdin.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      const end = (why: string): void => {
        this.#end(why);
        resolve();
      };
      this.#child.on('error', (error) => end(`cannot start: ${error.message}`));
      this.#child.on('close', (code, signal) => end(`ended (${signal ?? `exit code ${code}`})`));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Sends `verb ID fields...` for each request in one write. Rejects when the process ends first. */
  requests(lines: readonly (readonly [verb: string, ...fields: string[]])[]): Promise<readonly (readonly string[])[]> {
    if (this.#over) return Promise.reject(this.#over);
    let text = '';
    const answers = lines.map(([verb, ...fields]) => {
      const id = String(++this.#lastId);
      text += `${[verb, id, ...fields].join(' ')}\n`;
      return new Promise<readonly string[]>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    });
    this.#child.stdin.write(text);
    return Promise.all(answers);
  }

  /** One request that answers `ok ...` or `error TEXT`; gives what follows `ok`, and the ID it was sent under. */
  async request(
    verb: string,
    ...fields: string[]
  ): Promise<{ readonly id: string; readonly fields: readonly string[] }> {
    const id = String(this.#lastId + 1);
    const [answer] = await this.requests([[verb, ...fields]]);
    const [word, ...rest] = answer!;
    if (word !== 'ok') throw new Error(`${this.#label}: ${verb} ${fields.join(' ')}: ${rest.join(' ')}`);
    return { id, fields: rest };
  }

  /** Lets it end by itself, and kills it if it does not. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.kill(), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop()!;
    for (const line of lines) {
      const [id, ...fields] = line.split(' ');
      const waiting = this.#waiting.get(id!);
      this.#waiting.delete(id!);
      waiting?.resolve(fields);
    }
  }

  #end(why: string): void {
    const detail = this.#stderr.trim();
    this.#over ??= new Error(`${this.#label} ${why}${detail === '' ? '' : `: ${detail}`}`);
    for (const { reject } of this.#waiting.values()) reject(this.#over);
    this.#waiting.clear();
  }
}
