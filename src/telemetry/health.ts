/** The agent's HTTP server: /healthz, /readyz, /status, /trace, /metrics, /plan, /denials and /flows, for reading only. Everything shown comes from provider functions. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { chmod, lstat, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type HostPort, hostPortText } from '../net/host-port.ts';
import type { MetricsPage } from './metrics.ts';
import type { TracedFlow } from '../dataplane/dataplane.ts';
import type { FlowsPage } from './flows-page.ts';
import type { PolicyFilter, StatusPage } from './status-page.ts';
import type { TracePage } from './trace-page.ts';
import { readTracedFlows } from './trace-page.ts';
import { messageOf } from '../core/error-text.ts';

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
  /** What /readyz?verbose adds; for people, decides nothing. */
  readonly details?: () => Readonly<Record<string, unknown>>;
  readonly metrics: () => Promise<MetricsPage>;
  /** As JSON. */
  readonly status: (filter: PolicyFilter) => StatusPage;
  /** What the node's rules do with these flows; undefined: it was asked a moment ago. */
  readonly trace: (flows: readonly TracedFlow[]) => Promise<TracePage | undefined>;
  /** The end of the log, lines of JSON. */
  readonly log: () => string;
  /** Absent until the first sync has made a plan. */
  readonly plan: () => PlanPage | undefined;
  /** The latest denied flows, for JSON. */
  readonly denials: () => unknown;
  /** Connections that are alive; undefined: it was asked a moment ago. */
  readonly flows: () => Promise<FlowsPage | undefined>;
}

export type ListenAddress =
  | HostPort
  /** A Unix socket, for root alone. */
  | { readonly path: string };

/** Port 0: any free one. */
type StatusServerOptions = ListenAddress & {
  readonly providers: StatusProviders;
  /** The flag that changes the address, without dashes; absent: http-address. */
  readonly flag?: string;
  /** The paths that are served; absent: all. */
  readonly only?: readonly PagePath[];
  /**
   * The token without which what tells of policies and addresses is not shown; health is shown to everybody. Absent: no token is
   * asked for. Read with each request, so that it may change; rejects if it cannot be read, and then nothing is shown.
   */
  readonly readToken?: () => Promise<string>;
  /** Called for a provider that threw; the client gets status 500 with the message. */
  readonly onError?: (path: string, error: unknown) => void;
};

export interface StatusServer {
  /** With the port really listened on. */
  readonly address: ListenAddress;
  /** Stops listening and ends open connections. */
  close(): Promise<void>;
}

/** `host:port`, with brackets around an IPv6 address, or `unix:path`. */
export function formatListenAddress(address: ListenAddress): string {
  return 'path' in address ? `unix:${address.path}` : hostPortText(address);
}

/** The server could not listen; the message names the address and the flag that changes it. */
export class ListenFailed extends Error {
  constructor(where: string, why: string, flag = 'http-address') {
    super(`cannot listen on ${where}: ${why}; choose another address with --${flag}, or --${flag}=off`);
    this.name = 'ListenFailed';
  }
}

interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** A client that sends nothing, or takes nothing of its answer, must not hold a connection for ever. */
const REQUEST_TIMEOUT_MS = 10_000;
const SILENCE_TIMEOUT_MS = 10_000;
/** Of more, the oldest is closed: descriptors are needed for the tools, and probes must be answered. */
const MAX_CONNECTIONS = 32;

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program already listens there',
  EADDRNOTAVAIL: 'this host does not have that address',
  EACCES: 'not permitted; ports below 1024 need root',
  ENOENT: 'no such folder',
  ENOTFOUND: 'no such host name',
};

type PageMaker = (providers: StatusProviders, request: PageRequest) => Reply | Promise<Reply>;

const PAGES = {
  '/healthz': () => text(200, 'ok\n'),
  '/readyz': (providers, { isVerbose }) => readyPage(providers.ready(), isVerbose ? (providers.details?.() ?? {}) : {}),
  '/status': (providers, { policies }) => json(200, providers.status(policies)),
  '/metrics': async (providers) => ({ status: 200, ...(await providers.metrics()) }),
  '/plan': (providers, request) => planPage(providers.plan(), request),
  '/denials': (providers) => json(200, providers.denials()),
  '/flows': (providers) => liveFlowsPage(providers),
  '/trace': (providers, { query }) => tracedPage(providers, query),
  '/log': (providers) => text(200, providers.log()),
} satisfies Readonly<Record<string, PageMaker>>;

export type PagePath = keyof typeof PAGES;
const ALL_PAGES = Object.keys(PAGES) as PagePath[];

/** For those who come by the API server's proxy. */
export const TOKEN_HEADER = 'x-portcullis-token';

/** What tells of policies, pods or addresses. */
const CONFIDENTIAL: ReadonlySet<string> = new Set<PagePath>([
  '/metrics',
  '/status',
  '/trace',
  '/plan',
  '/denials',
  '/flows',
  '/log',
]);

/** Starts the server; resolves once it listens. Rejects with `ListenFailed`. */
export async function startStatusServer(options: StatusServerOptions): Promise<StatusServer> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    void answer(options, request, response);
  });
  server.timeout = SILENCE_TIMEOUT_MS;
  limitConnections(server);
  const listening = 'path' in options ? listenOnSocket(server, options.path) : listen(server, options);
  try {
    await listening;
  } catch (error) {
    const why = describeListenError(error as NodeJS.ErrnoException);
    throw new ListenFailed(formatListenAddress(options), why, options.flag);
  }
  server.on('error', (error) => options.onError?.('', error));
  return running(server, options);
}

function listen(server: Server, where: HostPort | { readonly path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const options = 'path' in where ? where : { host: where.host, port: where.port, exclusive: true };
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** A socket that an ended process left is replaced; one that answers is somebody's. */
async function listenOnSocket(server: Server, path: string): Promise<void> {
  try {
    await listen(server, { path });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !(await isAbandoned(path))) throw error;
    await unlink(path);
    await listen(server, { path });
  }
  await chmod(path, 0o600);
}

async function isAbandoned(path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return false;
  return new Promise((resolve) => {
    const client = connect({ path });
    client.once('connect', () => {
      client.destroy();
      resolve(false);
    });
    client.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

function limitConnections(server: Server): void {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    if (open.size <= MAX_CONNECTIONS) return;
    const [oldest] = open;
    oldest?.destroy();
    open.delete(oldest!);
  });
}

function running(server: Server, options: StatusServerOptions): StatusServer {
  const address = server.address();
  return {
    address:
      'path' in options
        ? { path: options.path }
        : { host: options.host, port: address !== null && typeof address === 'object' ? address.port : options.port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface PageRequest {
  readonly format: string | null;
  readonly isVerbose: boolean;
  readonly policies: PolicyFilter;
  readonly query: URLSearchParams;
  readonly accept: string;
}

async function answer(options: StatusServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, query } = splitUrl(request.url ?? '/');
  let reply: Reply;
  try {
    const refused = CONFIDENTIAL.has(pathname) ? await refusal(options, request) : undefined;
    reply = refused ?? (await makeReply(options, request, pathname, query));
  } catch (error) {
    options.onError?.(pathname, error);
    reply = text(500, `${messageOf(error)}\n`);
  }
  response.writeHead(reply.status, {
    'content-type': reply.contentType,
    'content-length': Buffer.byteLength(reply.body),
    'cache-control': 'no-store',
    ...(reply.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    ...(reply.status === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  // Node leaves the body out of an answer to HEAD.
  response.end(reply.body);
}

/** Undefined: whoever asks has the token, or none is needed. */
async function refusal(options: StatusServerOptions, request: IncomingMessage): Promise<Reply | undefined> {
  if (!options.readToken) return undefined;
  let token: string;
  try {
    token = await options.readToken();
    if (token === '') throw new Error('the token file is empty');
  } catch (error) {
    options.onError?.(request.url ?? '', error);
    return text(503, 'the token that protects this page cannot be read; see the log of the agent\n');
  }
  // The API server hands no Authorization header on to a pod.
  const bearer = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
  const given = bearer ?? String(request.headers[TOKEN_HEADER] ?? '');
  // Of equal length, so that the time it takes tells nothing.
  const [a, b] = [given, token].map((value) => createHash('sha256').update(value).digest()) as [Buffer, Buffer];
  return timingSafeEqual(a, b)
    ? undefined
    : text(401, `needs the token of --http-token-file: Authorization: Bearer ..., or ${TOKEN_HEADER}: ...\n`);
}

function makeReply(
  { providers, only = ALL_PAGES }: StatusServerOptions,
  request: IncomingMessage,
  pathname: string,
  query: URLSearchParams,
): Reply | Promise<Reply> {
  const path = only.find((one) => one === pathname);
  if (!path) return text(404, `no such page; there are ${only.join(', ')}\n`);
  if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'only GET and HEAD\n');
  const format = query.get('format');
  const page: PageMaker = PAGES[path];
  return page(providers, {
    format,
    isVerbose: query.has('verbose'),
    policies: policyFilter(query),
    query,
    accept: request.headers.accept ?? '',
  });
}

/** `?policy=namespace/name`, `?policies=unsettled`, or both. */
function policyFilter(query: URLSearchParams): PolicyFilter {
  const also = query.get('policy');
  const which = query.get('policies') === 'unsettled' ? 'unsettled' : also === null ? 'all' : 'none';
  return { which, ...(also === null ? {} : { also }) };
}

function splitUrl(url: string): { readonly pathname: string; readonly query: URLSearchParams } {
  const [pathname, query] = url.split('?', 2);
  return { pathname: pathname ?? '/', query: new URLSearchParams(query ?? '') };
}

function readyPage(conditions: readonly ReadyCondition[], details: Readonly<Record<string, unknown>>): Reply {
  const ready = conditions.every((condition) => condition.ok);
  return json(ready ? 200 : 503, { ready, conditions, ...details });
}

async function tracedPage({ trace }: StatusProviders, query: URLSearchParams): Promise<Reply> {
  const flows = readTracedFlows(query);
  if (typeof flows === 'string') return text(400, `${flows}\n`);
  const page = await trace(flows);
  return page ? json(200, page) : askedTooSoon();
}

async function liveFlowsPage({ flows }: StatusProviders): Promise<Reply> {
  const page = await flows();
  return page ? json(200, page) : askedTooSoon();
}

function askedTooSoon(): Reply {
  return text(429, 'was asked within the last second, and reads the kernel each time; ask again\n');
}

function planPage(plan: PlanPage | undefined, request: PageRequest): Reply {
  const asJson = request.format === null ? request.accept.includes('application/json') : request.format === 'json';
  if (!plan) {
    const message = 'no plan yet: the first sync has not ended; see /readyz';
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
