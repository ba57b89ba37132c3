/**
 * An HTTP server that has no objects and no opinion: each request waits until the test answers it, byte by byte if it likes. For what is
 * asked of the server and when, and for answers no API server gives on demand: held back, cut, out of order, of another protocol.
 * Whoever needs a server with objects takes the lab's (lab/api), which lists, watches and pages, and fails when told to (lab/api/faults.ts).
 */
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { until } from '../support/virtual-clock.ts';

export interface TlsMaterial {
  readonly key: string;
  readonly cert: string;
  /** Client certificates signed by this CA are asked for and required. */
  readonly clientCa?: string;
}

/** One request, held until the test answers. */
export class Exchange {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
  readonly #response: http.ServerResponse;
  closed = false;

  constructor(request: http.IncomingMessage, response: http.ServerResponse) {
    const url = new URL(request.url ?? '/', 'http://localhost');
    this.path = url.pathname;
    this.query = url.searchParams;
    this.headers = request.headers;
    this.#response = response;
    response.on('close', () => {
      this.closed = true;
    });
  }

  get isQuestion(): boolean {
    return this.query.get('limit') === '1' && this.query.get('resourceVersionMatch') === 'NotOlderThan';
  }

  /** As a server that does not have the version asked for. */
  tooLarge(current: string): void {
    const message = `Too large resource version: ${this.query.get('resourceVersion')}, current: ${current}`;
    const causes = [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }];
    this.answer(504, { kind: 'Status', code: 504, reason: 'Timeout', message, details: { causes } });
  }

  /** A whole answer. */
  answer(status: number, body: unknown = '', headers: Record<string, string> = {}): void {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.#response.writeHead(status, { 'content-type': 'application/json', ...headers });
    this.#response.end(text);
  }

  /** A Status object, as the API server refuses. */
  refuse(code: number, reason: string, message: string, headers: Record<string, string> = {}): void {
    this.answer(code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message }, headers);
  }

  /** Begins a watch. */
  accept(contentType = 'application/json'): this {
    this.#response.writeHead(200, { 'content-type': contentType });
    this.#response.flushHeaders();
    return this;
  }

  event(type: string, object: unknown): this {
    return this.raw(`${JSON.stringify({ type, object })}\n`);
  }

  bookmark(version: string, endOfInitialEvents = false): this {
    const annotations = endOfInitialEvents ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    return this.event('BOOKMARK', { metadata: { resourceVersion: version, ...annotations } });
  }

  raw(bytes: string | Buffer): this {
    this.#response.write(bytes);
    return this;
  }

  end(): void {
    this.#response.end();
  }

  /** Breaks the connection. */
  reset(): void {
    this.#response.socket?.resetAndDestroy();
  }
}

export class ScriptedServer {
  readonly #server: http.Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiting: Exchange[] = [];
  /** Every request since the start. */
  readonly seen: Exchange[] = [];
  /** Requests that only ask whether a version is there; not among `seen`. */
  readonly questions: Exchange[] = [];
  /** Answers them; by default the version is there. */
  onQuestion: (question: Exchange) => void = (question) =>
    question.answer(200, { metadata: { resourceVersion: question.query.get('resourceVersion') }, items: [] });
  /** TCP connections since the start. */
  connections = 0;
  readonly #scheme: string;

  constructor(tls?: TlsMaterial) {
    const listener: http.RequestListener = (request, response) => {
      const exchange = new Exchange(request, response);
      if (exchange.isQuestion) {
        this.questions.push(exchange);
        this.onQuestion(exchange);
        return;
      }
      this.seen.push(exchange);
      this.#waiting.push(exchange);
    };
    this.#scheme = tls ? 'https' : 'http';
    this.#server = tls
      ? https.createServer(
          {
            key: tls.key,
            cert: tls.cert,
            ...(tls.clientCa ? { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true } : {}),
          },
          listener,
        )
      : http.createServer(listener);
    this.#server.on('connection', (socket: Socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`;
  }

  /** The next request not yet taken, for `path` if given. */
  async next(path?: string): Promise<Exchange> {
    const find = (): number => this.#waiting.findIndex((exchange) => path === undefined || exchange.path === path);
    await until(() => find() >= 0, `a request${path ? ` for ${path}` : ''}`);
    return this.#waiting.splice(find(), 1)[0]!;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
