/** The agent's HTTP server: /healthz, /readyz, /metrics and /plan, for reading only. Everything shown comes from provider functions. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { MetricsPage } from './metrics.ts';

export interface ConditionState {
  readonly ok: boolean;
  /** What was found, for people; says what to do when `ok` is false. */
  readonly reason: string;
}

/** One thing that must hold before the node counts as ready. */
export interface ReadyCondition extends ConditionState {
  /** E.g. `informers-synced`, `first-commit`, `jumps-present`, `bridge-netfilter`. */
  readonly name: string;
}

export interface PlanPage {
  /** Restore input as text. */
  readonly text: string;
  /** The same as a value for JSON. */
  readonly value: unknown;
}

export interface StatusProviders {
  /** Ready if every condition holds. */
  readonly ready: () => readonly ReadyCondition[];
  readonly metrics: () => Promise<MetricsPage>;
  /** Absent until the first pass has made a plan. */
  readonly plan: () => PlanPage | undefined;
}

export interface ListenAddress {
  /** An address or a host name, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Port 0: any free one. */
export interface StatusServerOptions extends ListenAddress {
  readonly providers: StatusProviders;
  /** Called for a provider that threw; the client gets status 500 with the message. */
  readonly onError?: (path: string, error: unknown) => void;
}

/** With the port really listened on. */
export interface StatusServer extends ListenAddress {
  /** Stops listening and ends open connections. */
  close(): Promise<void>;
}

/** `host:port`, with brackets around an IPv6 address. */
export function formatListenAddress({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The server could not listen; the message names the address and the flag that changes it. */
export class ListenFailed extends Error {
  constructor(where: string, why: string) {
    super(`cannot listen on ${where}: ${why}; choose another address with --http-address, or --http-address=off`);
    this.name = 'ListenFailed';
  }
}

interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** A scraper that sends nothing must not hold a connection for ever. */
const REQUEST_TIMEOUT_MS = 10_000;

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program already listens there',
  EADDRNOTAVAIL: 'this host does not have that address',
  EACCES: 'not permitted; ports below 1024 need root',
  ENOTFOUND: 'no such host name',
};

const PAGES: Readonly<Record<string, (providers: StatusProviders, request: PageRequest) => Reply | Promise<Reply>>> = {
  '/healthz': () => text(200, 'ok\n'),
  '/readyz': (providers) => readyPage(providers.ready()),
  '/metrics': async (providers) => ({ status: 200, ...(await providers.metrics()) }),
  '/plan': (providers, request) => planPage(providers.plan(), request),
};

/** Starts the server; resolves once it listens. Rejects with `ListenFailed`. */
export function startStatusServer(options: StatusServerOptions): Promise<StatusServer> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    void answer(options, request, response);
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new ListenFailed(formatListenAddress(options), describeListenError(error)));
    });
    server.listen({ host: options.host, port: options.port, exclusive: true }, () => {
      server.removeAllListeners('error');
      server.on('error', (error) => options.onError?.('', error));
      resolve(running(server, options));
    });
  });
}

function running(server: Server, options: StatusServerOptions): StatusServer {
  const address = server.address();
  return {
    host: options.host,
    port: address !== null && typeof address === 'object' ? address.port : options.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface PageRequest {
  readonly format: string | null;
  readonly accept: string;
}

async function answer(options: StatusServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, format } = splitUrl(request.url ?? '/');
  let reply: Reply;
  try {
    reply = await makeReply(options.providers, request, pathname, format);
  } catch (error) {
    options.onError?.(pathname, error);
    reply = text(500, `${error instanceof Error ? error.message : String(error)}\n`);
  }
  response.writeHead(reply.status, {
    'content-type': reply.contentType,
    'content-length': Buffer.byteLength(reply.body),
    'cache-control': 'no-store',
    ...(reply.status === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  // Node leaves the body out of an answer to HEAD.
  response.end(reply.body);
}

function makeReply(
  providers: StatusProviders,
  request: IncomingMessage,
  pathname: string,
  format: string | null,
): Reply | Promise<Reply> {
  const page = PAGES[pathname];
  if (!page) return text(404, `no such page; there are ${Object.keys(PAGES).join(', ')}\n`);
  if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'only GET and HEAD\n');
  return page(providers, { format, accept: request.headers.accept ?? '' });
}

function splitUrl(url: string): { readonly pathname: string; readonly format: string | null } {
  const [pathname, query] = url.split('?', 2);
  return { pathname: pathname ?? '/', format: new URLSearchParams(query ?? '').get('format') };
}

function readyPage(conditions: readonly ReadyCondition[]): Reply {
  const ready = conditions.every((condition) => condition.ok);
  return json(ready ? 200 : 503, { ready, conditions });
}

function planPage(plan: PlanPage | undefined, request: PageRequest): Reply {
  const asJson = request.format === null ? request.accept.includes('application/json') : request.format === 'json';
  if (!plan) {
    const message = 'no plan yet: the first pass has not ended; see /readyz';
    return asJson ? json(503, { error: message }) : text(503, `${message}\n`);
  }
  return asJson ? json(200, plan.value) : text(200, plan.text);
}

function text(status: number, body: string): Reply {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

function json(status: number, value: unknown): Reply {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value, null, 2)}\n` };
}

function describeListenError(error: NodeJS.ErrnoException): string {
  return LISTEN_ERRORS[error.code ?? ''] ?? error.message;
}
