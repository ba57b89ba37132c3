/** A plain client for tests of the API server: JSON requests and watches over its own TLS. */
import { Agent, request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { ApiServer } from '../../../lab/api/api-server.ts';

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
export type Any = any;

export interface Reply {
  readonly code: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Any;
}

export interface CallOptions {
  readonly token?: string;
  readonly accept?: string;
  readonly type?: string;
}

export class Client {
  readonly #server: ApiServer;
  readonly agent: Agent;

  /** Without `keepAlive` no request meets a connection that the server has just closed. */
  constructor(server: ApiServer, keepAlive = true) {
    this.#server = server;
    this.agent = new Agent({ ca: server.caPem, keepAlive });
  }

  async call(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<Reply> {
    const response = await this.open(method, path, body, options);
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    const isJson = /json/.test(response.headers['content-type'] ?? '');
    return { code: response.statusCode ?? 0, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  get(path: string, options?: CallOptions): Promise<Reply> {
    return this.call('GET', path, undefined, options);
  }

  open(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<IncomingMessage> {
    const { token = this.#server.token, accept = 'application/json', type = 'application/json' } = options;
    const text = Buffer.isBuffer(body)
      ? body
      : body === undefined
        ? undefined
        : typeof body === 'string'
          ? body
          : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const outgoing = request(
        `${this.#server.url}${path}`,
        {
          method,
          agent: this.agent,
          headers: {
            accept,
            ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
            ...(text === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(text) }),
          },
        },
        resolve,
      );
      outgoing.on('error', reject);
      outgoing.end(text);
    });
  }

  async watch(path: string, options?: CallOptions): Promise<Watch> {
    return new Watch(await this.open('GET', path, undefined, options));
  }

  close(): void {
    this.agent.destroy();
  }
}

export interface WatchEvent {
  readonly type: string;
  readonly object: Any;
}

/** How a watch ended: `clean` after a whole line, `cut` when bytes were left over or the connection broke. */
export type WatchOutcome = 'clean' | 'cut';

export class Watch {
  readonly events: WatchEvent[] = [];
  readonly response: IncomingMessage;
  readonly ended: Promise<WatchOutcome>;
  #rest = '';
  #waiting: (() => void)[] = [];

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => this.#take(chunk));
    this.ended = new Promise((resolve) => {
      response.on('error', () => {});
      response.on('close', () => resolve(response.complete && this.#rest === '' ? 'clean' : 'cut'));
    });
  }

  get rest(): string {
    return this.#rest;
  }

  #take(chunk: string): void {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.events.push(JSON.parse(line) as WatchEvent);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Resolves when `count` events are there; rejects after 2 s. */
  async atLeast(count: number, timeoutMs = 2000): Promise<readonly WatchEvent[]> {
    const deadline = performance.now() + timeoutMs;
    while (this.events.length < count) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`only ${this.events.length} of ${count} events: ${this.summary().join(' ')}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.events;
  }

  /** `TYPE name` of each event. */
  summary(): string[] {
    return this.events.map(({ type, object }) => `${type} ${object.metadata?.name ?? object.code ?? ''}`.trim());
  }

  close(): void {
    this.response.destroy();
  }
}

/** Waits until `condition` holds, checking often; throws after 2 s. */
export async function until(condition: () => boolean, what: string, timeoutMs = 2000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const pod = (
  name: string,
  fields: { readonly namespace?: string; readonly labels?: object; readonly spec?: object } = {},
) => ({
  metadata: { name, namespace: fields.namespace ?? 'default', ...(fields.labels ? { labels: fields.labels } : {}) },
  spec: { containers: [{ name: 'c', image: 'i' }], ...fields.spec },
});

export const policy = (name: string, spec: object = { podSelector: {} }) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace: 'default' },
  spec,
});
