/** Where log lines go: a stream that may be full, or that nobody reads. Whoever logs never waits for it. */

/** As much as a burst of log lines needs; a reader that is further behind has lost touch. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** How often a full stream is tried again. */
const RETRY_MS = 100;

export interface Sink {
  /** Bytes taken; 0: full at present. Throws if nobody will read: the reader is gone, the disk is full. */
  write(bytes: Uint8Array): number;
}

interface LogOutputOptions {
  readonly sink: Sink;
  /** Calls back once after `ms`; the returned function cancels. Must not keep the process alive. */
  readonly after: (ms: number, callback: () => void) => () => void;
  /** The line that tells of `count` lost lines, once lines are taken again. */
  readonly lossLine: (count: number) => string;
  readonly maxWaitingBytes?: number;
}

interface Waiting {
  readonly bytes: Uint8Array;
  /** So many lost lines it tells of; 0: a line of the log. */
  readonly tells: number;
}

/** Lines in order; those that find no room are dropped and counted, and the count is told when lines are taken again. */
export class LogOutput {
  readonly #options: LogOutputOptions;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #cancelRetry: (() => void) | undefined;
  #dropped = 0;
  #untold = 0;

  constructor(options: LogOutputOptions) {
    this.#options = options;
  }

  /** Lines lost since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waitingBytes + bytes.length > (this.#options.maxWaitingBytes ?? MAX_WAITING_BYTES)) {
      this.#dropped++;
      this.#untold++;
      return;
    }
    if (this.#waiting.length === 0) this.#tellLoss();
    this.#push({ bytes, tells: 0 });
    if (!this.#cancelRetry) this.flush();
  }

  /** Writes what the stream takes now. */
  flush(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    if (this.#drain() && this.#waiting.length === 0) {
      this.#tellLoss();
      this.#drain();
    }
    if (this.#waiting.length > 0) this.#cancelRetry = this.#options.after(RETRY_MS, () => this.flush());
  }

  #tellLoss(): void {
    if (this.#untold === 0) return;
    this.#push({ bytes: Buffer.from(this.#options.lossLine(this.#untold)), tells: this.#untold });
    this.#untold = 0;
  }

  #push(entry: Waiting): void {
    this.#waiting.push(entry);
    this.#waitingBytes += entry.bytes.length;
  }

  /** False if nobody reads any more: then what waited is lost. */
  #drain(): boolean {
    let done = 0;
    try {
      for (const { bytes, tells } of this.#waiting) {
        const taken = this.#options.sink.write(bytes);
        this.#waitingBytes -= taken;
        if (taken < bytes.length) {
          this.#waiting[done] = { bytes: bytes.subarray(taken), tells };
          break;
        }
        done++;
      }
      this.#waiting.splice(0, done);
      return true;
    } catch {
      for (const { tells } of this.#waiting.splice(0).slice(done)) {
        if (tells === 0) this.#dropped++;
        this.#untold += tells === 0 ? 1 : tells;
      }
      this.#waitingBytes = 0;
      return false;
    }
  }
}
