/** An API server as the agent's transport sees one, in the same process: what is given to it arrives at once, as watch lines. */
import { API_KINDS } from '../src/cluster/kinds.ts';
import type { ApiRequest, ApiResponse, Transport } from '../src/cluster/transport.ts';
import type { ObjectKind } from '../src/core/vocabulary.ts';
import type { RawObject } from './cluster-model.ts';

type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** Lines of one watch, given one by one or many at once. */
class LineQueue {
  readonly #waiting: Buffer[] = [];
  #wake: (() => void) | undefined;

  push(line: Buffer): void {
    this.#waiting.push(line);
    this.#wake?.();
  }

  async *read(signal: AbortSignal): AsyncGenerator<Buffer> {
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
    while (!signal.aborted) {
      const next = this.#waiting.shift();
      if (next) yield next;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

export class Feed implements Transport {
  readonly server = 'https://203.0.113.1:6443';
  readonly #lines = new Map<ObjectKind, LineQueue>();
  readonly #initial: Readonly<Record<ObjectKind, Iterable<RawObject>>>;

  constructor(initial: Readonly<Record<ObjectKind, Iterable<RawObject>>>) {
    this.#initial = initial;
  }

  send(kind: ObjectKind, type: EventType, object: RawObject): void {
    this.#queue(kind).push(lineOf(type, object));
  }

  open({ path, signal }: ApiRequest): Promise<ApiResponse> {
    const kind = (Object.keys(API_KINDS) as ObjectKind[]).find((each) => path.startsWith(`${API_KINDS[each].path}?`));
    if (kind === undefined) throw new Error(`unexpected request ${path}`);
    return Promise.resolve({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: this.#body(kind, signal),
    });
  }

  refreshCredentials(): void {}

  async *#body(kind: ObjectKind, signal: AbortSignal): AsyncGenerator<Buffer> {
    for (const object of this.#initial[kind]) yield lineOf('ADDED', object);
    const annotations = { 'k8s.io/initial-events-end': 'true' };
    yield lineOf('BOOKMARK', { metadata: { name: '', resourceVersion: '1', annotations } });
    yield* this.#queue(kind).read(signal);
  }

  #queue(kind: ObjectKind): LineQueue {
    let queue = this.#lines.get(kind);
    if (!queue) {
      queue = new LineQueue();
      this.#lines.set(kind, queue);
    }
    return queue;
  }
}

function lineOf(type: EventType | 'BOOKMARK', object: RawObject): Buffer {
  return Buffer.from(`${JSON.stringify({ type, object })}\n`);
}
