/** Door of this folder: an in-memory Kubernetes API server over HTTPS or HTTP. */
import { randomBytes } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { hostPortText } from '../../src/net/host-port.ts';
import { type AccessToken, authenticate, authorize, isAllowed } from './access.ts';
import { type ParsedRequest, parseRequest, RequestLog, type ResourceRequest } from './api-request.ts';
import { ApiStore } from './api-store.ts';
import { kubeconfigText, makeServerCertificate } from './certificates.ts';
import {
  AGGREGATED_TYPE,
  aggregatedDiscovery,
  apiGroupDocument,
  apiGroupList,
  apiResourceList,
  apiVersions,
  openApiDocument,
  openApiIndex,
  versionDocument,
} from './discovery.ts';
import { ApiError, methodNotAllowed, noSuchPath, notFound, serverError, unauthorized } from './errors.ts';
import { type FaultAction, Faults, type WatchEnd } from './faults.ts';
import { handleRequest, type Incoming } from './handle-request.ts';
import { type RealTiming, watchOptions } from './handle-watch.ts';
import { isObject, textOf } from './json.ts';
import { type ContainerLogs, sendPodLog } from './pod-log.ts';
import { type PodPorts, proxyToPod } from './pod-proxy.ts';
import { ListPages } from './list-pages.ts';
import type { ResourceName } from './objects.ts';
import { OPENAPI_V2_ACCEPT, OPENAPI_V2_PROTOBUF, openApiV2Document, openApiV2Protobuf } from './openapi-v2.ts';
import { mediaRanges } from './representations.ts';
import { parseObject, readBody } from './request-body.ts';
import { WatchStream } from './watch-stream.ts';

export interface ApiServerOptions {
  /** Address to listen on; default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: any free port. */
  readonly port?: number;
  /** Default true. */
  readonly tls?: boolean;
  /** Host written into the URL and kubeconfig; default `host`, or 127.0.0.1 when listening on every address. */
  readonly advertise?: string;
  /** More names and addresses for the server's certificate. */
  readonly certificateHosts?: readonly string[];
  /** Default: one random token that may do everything. */
  readonly tokens?: readonly AccessToken[];
  /** Serve this store instead of a new one. */
  readonly store?: ApiStore;
  /** Make the namespaces every cluster has; default true. */
  readonly bootstrap?: boolean;
  /** A bookmark every so many ms to each watch; default: as real servers time them, which is about once a minute and only with news. */
  readonly bookmarkIntervalMs?: number;
  /** How often a watch is looked at for news that are worth a bookmark; default 60 s, as real servers. */
  readonly bookmarkLookMs?: number;
  /** How long a list waits for a version that is yet to come; default 3 s, as real servers. */
  readonly tooLargeWaitMs?: number;
  /** How often watches of a quiet kind hear of the versions of other kinds; default 10 minutes, as etcd. */
  readonly progressIntervalMs?: number;
  /** What containers print; absent: no container has a log. */
  readonly containerLogs?: ContainerLogs;
  /** How pods are reached; absent: none is. */
  readonly podPorts?: PodPorts;
  /** Told of failures inside the server; default: none is told, the client gets a 500. */
  readonly onError?: (error: unknown) => void;
}

export interface ApiServer {
  readonly url: string;
  readonly port: number;
  /** Empty without TLS. */
  readonly caPem: string;
  /** The first token. */
  readonly token: string;
  /** Text of a kubeconfig file for the first token. */
  readonly kubeconfig: string;
  /** Text of a kubeconfig file for another token. */
  kubeconfigFor(token: string): string;
  readonly store: ApiStore;
  readonly faults: Faults;
  readonly requests: RequestLog;
  /** Watches open now, of one resource or of all. */
  openWatches(resource?: ResourceName): number;
  /** Client connections open now. */
  openConnections(): number;
  /** Forgets the history of changes and the later pages of lists, as etcd compaction does. */
  compact(): void;
  /** Ends watches, cuts connections, stops listening. */
  close(): Promise<void>;
}

const DEFAULT_BOOKMARK_LOOK_MS = 60_000;
const DEFAULT_PROGRESS_MS = 600_000;
const DEFAULT_TOO_LARGE_WAIT_MS = 3_000;
const SYSTEM_NAMESPACES = ['default', 'kube-node-lease', 'kube-public', 'kube-system'];
const WILDCARDS = ['0.0.0.0', '::'];

/** Resolves when the server listens. Rejects when it cannot, for example because the port is taken. */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const { host = '127.0.0.1', tls = true } = options;
  const tokens = options.tokens ?? [{ token: randomBytes(16).toString('hex'), user: 'lab-admin' }];
  const store = options.store ?? new ApiStore();
  if (options.bootstrap ?? true) bootstrap(store);
  const advertise = options.advertise ?? (WILDCARDS.includes(host) ? '127.0.0.1' : host);
  const certificate = tls ? await makeServerCertificate(certificateHosts(host, advertise, options)) : undefined;
  const server = certificate
    ? createHttpsServer({ key: certificate.keyPem, cert: certificate.certPem })
    : createHttpServer();
  const running = new RunningServer(server, store, tokens, options);
  await running.listen(options.port ?? 0, host);
  const url = `${tls ? 'https' : 'http'}://${hostPortText({ host: advertise, port: running.port })}`;
  const token = tokens[0]?.token ?? '';
  const kubeconfigFor = (other: string): string => kubeconfigText(url, certificate?.caPem, other);
  return {
    url,
    port: running.port,
    caPem: certificate?.caPem ?? '',
    token,
    kubeconfig: kubeconfigFor(token),
    kubeconfigFor,
    store,
    faults: running.faults,
    requests: running.requests,
    openWatches: (resource) => running.openWatches(resource),
    openConnections: () => running.openConnections(),
    compact: () => running.compact(),
    close: () => running.close(),
  };
}

function bootstrap(store: ApiStore): void {
  for (const name of SYSTEM_NAMESPACES) {
    if (!store.get('namespaces', { name })) store.create('namespaces', { metadata: { name } });
  }
}

function certificateHosts(host: string, advertise: string, options: ApiServerOptions): readonly string[] {
  const local = WILDCARDS.includes(host)
    ? Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address))
    : [host];
  const service = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
  const extra = options.certificateHosts ?? [];
  return [...new Set([advertise, 'localhost', '127.0.0.1', '::1', ...local, ...service, ...extra])];
}

class RunningServer {
  readonly faults: Faults;
  readonly requests = new RequestLog();
  readonly #server: Server;
  readonly #store: ApiStore;
  readonly #tokens: readonly AccessToken[];
  readonly #pages = new ListPages();
  readonly #watches = new Set<WatchStream>();
  readonly #sockets = new Set<Socket>();
  readonly #onError: (error: unknown) => void;
  readonly #containerLogs: ContainerLogs;
  readonly #podPorts: PodPorts;
  readonly #unsubscribe: () => void;
  readonly #progressTimer: NodeJS.Timeout;
  /** How far the store had got when it last said so. */
  #progressVersion: number;
  readonly #timing: RealTiming;
  readonly #tooLargeWaitMs: number;
  #host = '';
  port = 0;

  constructor(server: Server, store: ApiStore, tokens: readonly AccessToken[], options: ApiServerOptions) {
    this.#server = server;
    this.#store = store;
    this.#tokens = tokens;
    this.#onError = options.onError ?? (() => {});
    this.#containerLogs = options.containerLogs ?? (() => undefined);
    this.#podPorts =
      options.podPorts ?? (() => Promise.reject(serverError(503, 'error trying to reach service: no route to host')));
    this.faults = new Faults(
      {
        dropConnections: () => this.#dropConnections(),
        stopListening: () => this.#server.close(),
        listenAgain: () => this.listen(this.port, this.#host),
        endWatches: (how, resource) => this.#endWatches(how, resource),
        failWatches: (code, message, resource) => this.#failWatches(code, message, resource),
        wakeWatches: () => this.#wakeWatches(undefined),
      },
      options.bookmarkIntervalMs,
    );
    this.#progressVersion = store.storage.version;
    this.#tooLargeWaitMs = options.tooLargeWaitMs ?? DEFAULT_TOO_LARGE_WAIT_MS;
    this.#timing = {
      aboutMs: options.bookmarkLookMs ?? DEFAULT_BOOKMARK_LOOK_MS,
      progressVersion: () => this.#progressVersion,
    };
    const noteProgress = (): void => {
      this.#progressVersion = store.storage.version;
    };
    this.#progressTimer = setInterval(noteProgress, options.progressIntervalMs ?? DEFAULT_PROGRESS_MS).unref();
    // Node's default of 5 s makes clients that keep connections run into resets.
    server.keepAliveTimeout = 90_000;
    server.requestTimeout = 0;
    server.on('connection', (socket: Socket) => this.#track(socket));
    server.on('secureConnection', (socket: Socket) => socket.on('error', () => {}));
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch((error: unknown) => this.#refuse(response, error));
    });
    this.#unsubscribe = store.storage.subscribe((resource) => this.#wakeWatches(resource));
  }

  listen(port: number, host: string): Promise<void> {
    if (this.#server.listening) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        this.#host = host;
        this.port = (this.#server.address() as AddressInfo).port;
        resolve();
      });
    });
  }

  openWatches(resource: ResourceName | undefined): number {
    return [...this.#watches].filter((watch) => resource === undefined || watch.resource === resource).length;
  }

  openConnections(): number {
    return this.#sockets.size;
  }

  compact(): void {
    this.#store.storage.compact();
    this.#pages.clear();
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    clearInterval(this.#progressTimer);
    this.#endWatches('end', undefined);
    const closed = new Promise<void>((resolve) => {
      if (this.#server.listening) this.#server.close(() => resolve());
      else resolve();
    });
    const gone = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    this.#dropConnections();
    await Promise.all([closed, ...gone]);
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    // A client that goes away is nothing to report.
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    socket.setNoDelay(true);
  }

  #dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #endWatches(how: WatchEnd, resource: ResourceName | undefined): void {
    for (const watch of [...this.#watches]) if (resource === undefined || watch.resource === resource) watch.end(how);
  }

  #failWatches(code: number, message: string, resource: ResourceName | undefined): void {
    const { status } = serverError(code, message);
    for (const watch of [...this.#watches])
      if (resource === undefined || watch.resource === resource) watch.fail(status);
  }

  #wakeWatches(resource: ResourceName | undefined): void {
    for (const watch of this.#watches) if (resource === undefined || watch.resource === resource) watch.wake();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://api');
    const parsed = parseRequest(request.method ?? 'GET', url);
    this.#log(request, url, parsed);
    const verb = parsed.kind === 'resource' ? parsed.verb : 'plain';
    const action = this.faults.take(verb, parsed.kind === 'resource' ? parsed.info.plural : 'none');
    if (action && (await injected(action, request, response))) return;
    const token = authenticate(this.#tokens, request.headers.authorization);
    if (!token) throw unauthorized();
    if (parsed.kind === 'wrong-method') throw methodNotAllowed();
    if (parsed.kind === 'plain') return this.#answerPlain(request, response, parsed.path, token);
    const refusal = authorize(token, parsed);
    if (refusal) throw refusal;
    await this.#untilThere(parsed);
    if (parsed.verb === 'watch') return this.#startWatch(request, response, parsed);
    if (parsed.subresource === 'proxy') return proxyToPod(this.#store, parsed, request, response, this.#podPorts);
    if (parsed.subresource === 'log') return this.#sendLog(response, parsed);
    await this.#answerResource(request, response, parsed);
  }

  #log(request: IncomingMessage, url: URL, parsed: ParsedRequest): void {
    const about =
      parsed.kind === 'resource'
        ? { verb: parsed.verb, resource: parsed.info.plural, namespace: parsed.namespace }
        : { verb: 'plain' as const, resource: 'none' as const, namespace: undefined };
    const userAgent = request.headers['user-agent'] ?? '';
    this.requests.record({ ...about, path: url.pathname, query: url.searchParams, userAgent });
  }

  async #answerResource(request: IncomingMessage, response: ServerResponse, parsed: ResourceRequest): Promise<void> {
    const warnings = new Set<string>();
    const incoming: Incoming = {
      request: parsed,
      accept: request.headers.accept,
      body: await readBody(request),
      userAgent: request.headers['user-agent'] ?? '',
      warn: (text) => warnings.add(text),
    };
    const { code, body } = handleRequest(this.#store, this.#pages, incoming);
    if (warnings.size > 0) response.setHeader('warning', [...warnings].map(warningHeader));
    send(response, code, body);
  }

  #sendLog(response: ServerResponse, { info, namespace, name = '', query }: ResourceRequest): void {
    const pod = this.#store.get('pods', { namespace, name });
    if (!pod) throw notFound(info, name);
    sendPodLog(response, pod, query, { logs: this.#containerLogs, nowMs: () => this.#store.nowMs() });
  }

  /** Lists, streamed or not, that want a version not there yet wait for it a while, as real servers do; a plain watch starts. */
  async #untilThere({ verb, query }: ResourceRequest): Promise<void> {
    const isList = verb === 'list' || (verb === 'watch' && query.get('sendInitialEvents') === 'true');
    const wanted = Number(query.get('resourceVersion') ?? 0);
    const { storage } = this.#store;
    if (!isList || !(wanted > storage.version) || query.get('continue')) return;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        unsubscribe();
        resolve();
      };
      const timer = setTimeout(finish, this.#tooLargeWaitMs).unref();
      const unsubscribe = storage.subscribe(() => {
        if (storage.version >= wanted) finish();
      });
    });
  }

  #startWatch(request: IncomingMessage, response: ServerResponse, parsed: ResourceRequest): void {
    try {
      const options = watchOptions(this.#store, this.faults, parsed, request.headers.accept, this.#timing);
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
      const watch: WatchStream = new WatchStream(response, options, () => this.#watches.delete(watch));
      this.#watches.add(watch);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 410 || this.faults.goneForm === 'http') throw error;
      send(response, 200, `${JSON.stringify({ type: 'ERROR', object: error.status })}\n`);
    }
  }

  async #answerPlain(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    token: AccessToken,
  ): Promise<void> {
    if (path === '/healthz' || path === '/livez' || path === '/readyz') return sendText(response, 'ok');
    if (path === '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews' && request.method === 'POST') {
      return send(response, 201, JSON.stringify(accessReview(parseObject(await readBody(request)), token)));
    }
    if (path === '/openapi/v2' && (request.headers.accept ?? '').includes(OPENAPI_V2_ACCEPT)) {
      return send(response, 200, openApiV2Protobuf(), OPENAPI_V2_PROTOBUF);
    }
    const aggregated = (path === '/api' || path === '/apis') && wantsAggregated(request.headers.accept);
    const found = aggregated ? aggregatedDiscovery(path === '/api') : plainDocument(path);
    if (!found) throw noSuchPath();
    if (request.method !== 'GET' && request.method !== 'HEAD') throw methodNotAllowed();
    send(response, 200, JSON.stringify(found), aggregated ? AGGREGATED_TYPE : 'application/json');
  }

  #refuse(response: ServerResponse, error: unknown): void {
    // A client that went away is no failure of the server.
    if (!(error instanceof ApiError) && !response.destroyed) this.#onError(error);
    if (response.destroyed || response.headersSent) {
      response.destroy();
      return;
    }
    const known = error instanceof ApiError ? error : serverError(500, `internal error: ${(error as Error).message}`);
    const retry = known.status.details?.retryAfterSeconds;
    if (retry !== undefined) response.setHeader('retry-after', String(retry));
    send(response, known.code, JSON.stringify(known.status));
  }
}

/** Carries out an injected fault; true if the request is dealt with. */
async function injected(action: FaultAction, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  switch (action.kind) {
    case 'delay':
      await new Promise((resolve) => setTimeout(resolve, action.ms));
      return response.destroyed;
    case 'hang':
      return true;
    case 'reset':
      request.socket.destroy();
      return true;
    case 'status':
      throw serverError(action.code, action.message ?? `injected failure ${action.code}`, action.retryAfterSeconds);
  }
}

function send(response: ServerResponse, code: number, body: string | Buffer, contentType = 'application/json'): void {
  response.writeHead(code, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function sendText(response: ServerResponse, text: string): void {
  send(response, 200, text, 'text/plain; charset=utf-8');
}

/** RFC 7234, section 5.5; control characters and what a header cannot hold are left out. */
function warningHeader(text: string): string {
  const quoted = text.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll(/["\\]/g, '\\$&');
  return `299 - "${quoted}"`;
}

const wantsAggregated = (accept: string | undefined): boolean =>
  mediaRanges(accept).some(
    ({ type, parameters }) =>
      type === 'application/json' && parameters.as === 'APIGroupDiscoveryList' && parameters.v === 'v2',
  );

function plainDocument(path: string): object | undefined {
  const [root, ...rest] = path.split('/').slice(1);
  const [first = '', second = '', third = '', fourth = ''] = rest;
  switch (`${root}/${rest.length}`) {
    case 'version/0':
      return versionDocument();
    case 'api/0':
      return apiVersions();
    case 'apis/0':
      return apiGroupList();
    case 'api/1':
      return apiResourceList('', first);
    case 'apis/1':
      return apiGroupDocument(first);
    case 'apis/2':
      return apiResourceList(first, second);
    case 'openapi/1':
      return first === 'v3' ? openApiIndex() : first === 'v2' ? openApiV2Document() : undefined;
    case 'openapi/3':
      return first === 'v3' && second === 'api' ? openApiDocument('', third) : undefined;
    case 'openapi/4':
      return first === 'v3' && second === 'apis' ? openApiDocument(third, fourth) : undefined;
    default:
      return undefined;
  }
}

/** Answers "may I?" from the token's own rules. */
function accessReview(review: Record<string, unknown>, token: AccessToken): object {
  const spec = isObject(review.spec) ? review.spec : {};
  const asked = isObject(spec.resourceAttributes) ? spec.resourceAttributes : {};
  const namespace = textOf(asked.namespace);
  const question = {
    verb: textOf(asked.verb),
    resource: textOf(asked.resource),
    namespace: namespace === '' ? undefined : namespace,
  };
  return {
    kind: 'SelfSubjectAccessReview',
    apiVersion: 'authorization.k8s.io/v1',
    metadata: { creationTimestamp: null },
    spec,
    status: { allowed: isAllowed(token, question) },
  };
}
