/** How to reach the API server. One keep-alive agent for the whole process. */
import { stat } from 'node:fs/promises';
import * as http from 'node:http';
import * as https from 'node:https';
import { homedir } from 'node:os';
import type { Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import { checkServerIdentity } from 'node:tls';
import { systemClock } from '../core/clock.ts';
import { type HostPort, hostPortText } from '../net/host-port.ts';
import { ConnectionProblem, type Credentials, type CredentialSource } from './credentials.ts';
import { describeNetworkFailure, errorCode } from './describe-failure.ts';
import { readBody } from './read-body.ts';
import { serviceAccount, type ServiceAccountOptions } from './service-account.ts';
import { targetsToTry } from './targets.ts';
import type { ApiRequest, ApiResponse, Transport } from './transport.ts';

/**
 * Idle time before the first probe. Node then lets Linux send one a second and give up after ten (TCP_KEEPINTVL, TCP_KEEPCNT): a
 * connection into a black hole ends 20 s after its last byte.
 */
const TCP_KEEP_ALIVE_MS = 10_000;
/**
 * For TCP to connect. After a reboot the first SYN may leave before kube-proxy has written its rules; conntrack then keeps that
 * flow untranslated for as long as SYNs are repeated from the same port. Only a new connection gets a new port.
 */
const CONNECT_MS = 2_000;
/** For the TLS handshake after that. */
const HANDSHAKE_MS = 8_000;

export interface Connection extends Transport {
  /** Other addresses of the same server, for when its own leads nowhere. Whoever answers must have the same certificate. */
  setAlternates(targets: readonly HostPort[]): void;
  /** Closes idle sockets; exchanges under way are ended by their own signals. */
  close(): void;
}

interface ConnectionOptions extends ServiceAccountOptions {
  /** File name; several separated by `:` are merged as kubectl does. Wins over everything else. */
  readonly kubeconfig?: string;
  readonly userAgent?: string;
}

/**
 * Finds the API server. In this order: `kubeconfig`; the pod's service account, if KUBERNETES_SERVICE_HOST is set; the file
 * named by KUBECONFIG; `~/.kube/config`. Everything needed is read once, so that a missing file is reported here.
 * Rejects with `ConnectionProblem`.
 */
export async function loadConnection(options: ConnectionOptions): Promise<Connection> {
  const source = await findSource(options);
  await source.read();
  return connect(source, options.userAgent ?? 'portcullis');
}

async function findSource(options: ConnectionOptions): Promise<CredentialSource> {
  const { env } = options;
  const host = env.KUBERNETES_SERVICE_HOST;
  if (options.kubeconfig === undefined && host) return serviceAccount(options, host);
  const named = options.kubeconfig ?? env.KUBECONFIG;
  const files = (named || join(env.HOME ?? homedir(), '.kube', 'config'))
    .split(delimiter)
    .filter((file) => file !== '');
  if (!named && !(await exists(files[0]!)))
    throw new ConnectionProblem(
      `no API server to talk to: not in a pod (KUBERNETES_SERVICE_HOST is not set), no kubeconfig given, KUBECONFIG is not set and ${files[0]} does not exist`,
    );
  // Loaded on demand: the library costs about 60 MB and a second, and a DaemonSet never needs it.
  const { readKubeconfig } = await import('./kubeconfig.ts');
  return readKubeconfig(files);
}

/** Exported for tests and the lab. */
export function connect(source: CredentialSource, userAgent = 'portcullis'): Connection {
  return new ApiConnection(source, userAgent);
}

/** A connection over one keep-alive agent, made anew when the TLS material changes. */
class ApiConnection implements Connection {
  readonly server: string;
  readonly #source: CredentialSource;
  readonly #userAgent: string;
  readonly #primary: HostPort;
  readonly #failedAtMs = new Map<string, number>();
  #alternates: readonly HostPort[] = [];
  #agent: http.Agent | undefined;
  #agentVersion: string | undefined;
  #reading: Promise<Credentials> | undefined;

  constructor(source: CredentialSource, userAgent: string) {
    this.server = source.server.href.replace(/\/$/, '');
    this.#source = source;
    this.#userAgent = userAgent;
    this.#primary = targetOf(source.server);
  }

  setAlternates(targets: readonly HostPort[]): void {
    this.#alternates = targets;
  }

  async open(request: ApiRequest): Promise<ApiResponse> {
    const { server } = this.#source;
    const primary = this.#primary;
    const current = await unlessAborted(this.#credentials(), request.signal);
    const options = requestOptions(server, request, { ...current.headers, 'user-agent': this.#userAgent });
    const targets = current.agent
      ? [primary]
      : targetsToTry(primary, this.#alternates, this.#failedAtMs, systemClock.now());
    return tryInTurn(targets, primary, this.#failedAtMs, (target) => {
      const isPrimary = target === primary;
      const addressing = isPrimary ? {} : addressed(target, server, current, options.headers);
      const name = isPrimary ? this.server : `${this.server} at ${hostPortText(target)}`;
      return exchange({ ...options, ...addressing, agent: this.#agentFor(current) }, request, name, current.caName);
    });
  }

  refreshCredentials(): void {
    this.#source.refresh();
  }

  close(): void {
    retire(this.#agent);
  }

  /** One reader at a time: watches that start together must not run an exec plugin once for each. */
  #credentials(): Promise<Credentials> {
    this.#reading ??= this.#source.read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  #agentFor(current: Credentials): http.Agent {
    if (current.agent) return current.agent;
    if (this.#agent !== undefined && this.#agentVersion === current.tlsVersion) return this.#agent;
    retire(this.#agent);
    this.#agentVersion = current.tlsVersion;
    const keepAlive = { keepAlive: true, keepAliveMsecs: TCP_KEEP_ALIVE_MS };
    const isTls = this.#source.server.protocol === 'https:';
    this.#agent = isTls ? new https.Agent({ ...keepAlive, ...current.tls }) : new http.Agent(keepAlive);
    return this.#agent;
  }
}

/** Idle sockets go at once; sockets in use go when their exchange ends. */
function retire(agent: http.Agent | undefined): void {
  if (!agent) return;
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

function requestOptions(server: URL, request: ApiRequest, headers: http.OutgoingHttpHeaders): https.RequestOptions {
  return {
    protocol: server.protocol,
    hostname: targetOf(server).host,
    port: targetOf(server).port,
    // A server URL may have a path of its own (a proxy in front of several clusters).
    path: server.pathname.replace(/\/$/, '') + request.path,
    method: request.method ?? 'GET',
    headers: {
      accept: 'application/json',
      ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...request.headers,
      ...headers,
    },
    signal: request.signal,
  };
}

function targetOf(server: URL): HostPort {
  return {
    host: server.hostname.replace(/^\[|\]$/g, ''),
    port: Number(server.port) || (server.protocol === 'https:' ? 443 : 80),
  };
}

/** What differs where a request goes to another address: the name that is asked for and must be proven stays the server's own. */
function addressed(
  target: HostPort,
  server: URL,
  { tls }: Credentials,
  headers: https.RequestOptions['headers'],
): https.RequestOptions {
  const name = tls.servername ?? targetOf(server).host;
  return {
    hostname: target.host,
    port: target.port,
    setHost: false,
    headers: { ...(headers as http.OutgoingHttpHeaders), host: server.host },
    checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
  };
}

/** No connection came about, so nothing was sent. */
class NotConnected extends ConnectionProblem {}

/** A certificate that is not right at the server's own address is no reason to look elsewhere. */
async function tryInTurn(
  targets: readonly HostPort[],
  primary: HostPort,
  failedAtMs: Map<string, number>,
  attempt: (target: HostPort) => Promise<ApiResponse>,
): Promise<ApiResponse> {
  const failures = new Map<HostPort, NotConnected>();
  for (const target of targets) {
    try {
      const response = await attempt(target);
      failedAtMs.delete(hostPortText(target));
      return response;
    } catch (error) {
      if (!(error instanceof NotConnected)) throw error;
      failures.set(target, error);
      failedAtMs.set(hostPortText(target), systemClock.now());
    }
  }
  throw allFailed(failures, primary);
}

/** The address that people know first, the others after it. */
function allFailed(failures: ReadonlyMap<HostPort, NotConnected>, primary: HostPort): ConnectionProblem {
  const own = failures.get(primary);
  const others = [...failures.values()].filter((failure) => failure !== own);
  if (own && others.length === 0) return own;
  const texts = [...(own ? [own] : []), ...others].map(({ message }) => message);
  return new ConnectionProblem(texts.join('; '), { cause: own ?? others[0] });
}

function exchange(
  options: https.RequestOptions,
  request: ApiRequest,
  server: string,
  caName: string,
): Promise<ApiResponse> {
  let isConnected = false;
  const explain = (error: unknown): Error => {
    if (request.signal.aborted) return aborted();
    const isFinal = isConnected || (options.checkServerIdentity === undefined && isCertificateProblem(error));
    const Kind = isFinal ? ConnectionProblem : NotConnected;
    return new Kind(describeNetworkFailure(error, server, caName), { cause: error });
  };
  return new Promise((resolve, reject) => {
    const outgoing = (options.protocol === 'https:' ? https.request : http.request)(options);
    outgoing.on('socket', (socket) => {
      socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
      watchConnecting(socket, options.protocol === 'https:', outgoing, () => {
        isConnected = true;
      });
    });
    outgoing.on('error', (error) => reject(explain(error)));
    outgoing.on('response', (response) =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: readBody(response, explain) }),
    );
    outgoing.end(request.body);
  });
}

function isCertificateProblem(error: unknown): boolean {
  return /CERT|SIGNATURE|ERR_TLS|ERR_SSL|EPROTO/.test(errorCode(error) ?? '');
}

/** Bounds the time to connect and to shake hands. A socket that is used again is connected already. */
function watchConnecting(socket: Socket, isTls: boolean, outgoing: http.ClientRequest, onConnected: () => void): void {
  if (!socket.connecting) {
    onConnected();
    return;
  }
  let timer: NodeJS.Timeout;
  const limit = (ms: number, isOver: () => boolean, what: string): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      // After a stretch of work the answer may be there and not read yet.
      setImmediate(() => {
        if (isOver() || outgoing.destroyed) return;
        outgoing.destroy(Object.assign(new Error(`${what} within ${ms / 1000} s`), { code: 'ETIMEDOUT' }));
      });
    }, ms);
  };
  let isDone = false;
  const done = (): void => {
    isDone = true;
    clearTimeout(timer);
    onConnected();
  };
  limit(CONNECT_MS, () => isDone || !socket.connecting, 'no connection');
  socket.once('connect', () => {
    if (isTls) limit(HANDSHAKE_MS, () => isDone, 'no TLS handshake');
    else done();
  });
  if (isTls) socket.once('secureConnect', done);
  socket.once('close', () => clearTimeout(timer));
}

function aborted(): Error {
  return new DOMException('stopped', 'AbortError');
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(aborted());
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (error) {
    // Anything but "not there" is better told by the attempt to read it.
    return errorCode(error) !== 'ENOENT';
  }
}
