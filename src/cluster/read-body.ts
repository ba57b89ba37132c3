/** The bytes of an answer as they arrive, with less around each piece than a stream's own iterator: a watch brings one piece an event. */
import type { Readable } from 'node:stream';

interface Waiting {
  readonly resolve: (result: IteratorResult<Buffer, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/** To be read once. What comes while nobody asks waits in the stream. Rejects with what `explain` makes of a failure. */
export function readBody(response: Readable, explain: (error: unknown) => Error): AsyncIterable<Buffer> {
  return { [Symbol.asyncIterator]: () => new BodyReader(response, explain) };
}

class BodyReader implements AsyncIterator<Buffer, undefined> {
  readonly #response: Readable;
  readonly #explain: (error: unknown) => Error;
  /** Pieces that came before the stream stood still. */
  readonly #chunks: Buffer[] = [];
  #waiting: Waiting | undefined;
  #end: 'complete' | { readonly error: unknown } | undefined;

  constructor(response: Readable, explain: (error: unknown) => Error) {
    this.#response = response;
    this.#explain = explain;
    response.on('data', (chunk: Buffer) => this.#take(chunk));
    response.on('end', () => this.#over('complete'));
    response.on('error', (error) => this.#over({ error }));
    response.on('close', () => this.#over({ error: new Error('the connection was closed') }));
  }

  next(): Promise<IteratorResult<Buffer, undefined>> {
    const value = this.#chunks.shift();
    if (value !== undefined) return Promise.resolve({ value, done: false });
    if (this.#end === 'complete') return Promise.resolve({ value: undefined, done: true });
    if (this.#end) return Promise.reject(this.#explain(this.#end.error));
    if (this.#response.isPaused()) this.#response.resume();
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Nobody reads on. */
  return(): Promise<IteratorResult<Buffer, undefined>> {
    this.#response.destroy();
    return Promise.resolve({ value: undefined, done: true });
  }

  #take(value: Buffer): void {
    const waiting = this.#waiting;
    if (waiting) {
      this.#waiting = undefined;
      waiting.resolve({ value, done: false });
      return;
    }
    this.#chunks.push(value);
    this.#response.pause();
  }

  /** The first counts. */
  #over(end: 'complete' | { readonly error: unknown }): void {
    this.#end ??= end;
    const waiting = this.#waiting;
    if (!waiting) return;
    this.#waiting = undefined;
    if (this.#end === 'complete') waiting.resolve({ value: undefined, done: true });
    else waiting.reject(this.#explain(this.#end.error));
  }
}
