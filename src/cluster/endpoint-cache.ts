/**
 * The API server's own addresses, for the time after a reboot when its service address leads nowhere yet: read from the
 * EndpointSlice `default/kubernetes`, kept in a file. The file only says where to knock: whoever answers must show the certificate
 * of the service address.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { type HostPort, hostPortText, parseHostPort } from '../net/host-port.ts';
import { isRecord } from '../policy/raw-values.ts';
import type { Clock } from '../core/clock.ts';
import { inTime } from './deadline.ts';
import { errorCode } from './describe-failure.ts';
import type { ClusterLog } from './observe.ts';
import { parseJson, readBounded } from './read-answer.ts';
import { MAX_TARGETS } from './targets.ts';
import type { Transport } from './transport.ts';

export const ENDPOINTS_PATH = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes';
const MAX_BYTES = 256 * 1024;
/** Control planes are replaced rarely; a stale address costs one connect time-out. */
const REFRESH_MS = 600_000;
/** The first time soon after the start: a node may be rebooted at any time. */
const FIRST_MS = 5_000;
const RETRY_MS = 60_000;
const ANSWER_MS = 30_000;

interface EndpointCacheOptions {
  readonly transport: Transport;
  readonly file: string;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: ClusterLog;
  readonly onTargets: (targets: readonly HostPort[]) => void;
}

/** Reads the file; an absent or unreadable one holds nothing. */
export async function readEndpointCache(file: string, log: ClusterLog): Promise<readonly HostPort[]> {
  try {
    const value = parseJson(await readFile(file));
    const texts = isRecord(value) && Array.isArray(value.endpoints) ? value.endpoints : [];
    return texts.flatMap((text) => (typeof text === 'string' ? targetOf(text) : [])).slice(0, MAX_TARGETS);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT')
      log.warn({ file, err: error }, 'remembered addresses of the API server cannot be read: going on without');
    return [];
  }
}

function targetOf(text: string): readonly HostPort[] {
  const found = parseHostPort(text);
  return 'host' in found ? [found] : [];
}

/** Ready addresses and the port of an EndpointSlice; empty if there is none, or it is none. */
export function targetsOf(slice: unknown): readonly HostPort[] {
  if (!isRecord(slice) || !Array.isArray(slice.endpoints) || !Array.isArray(slice.ports)) return [];
  const port = slice.ports.find((each) => isRecord(each) && Number.isInteger(each.port));
  const found = slice.endpoints.flatMap((endpoint) => {
    if (!isRecord(endpoint) || !Array.isArray(endpoint.addresses)) return [];
    if (isRecord(endpoint.conditions) && endpoint.conditions.ready === false) return [];
    return endpoint.addresses.flatMap((host) =>
      typeof host === 'string' ? targetOf(hostPortText({ host, port: Number(port?.port) })) : [],
    );
  });
  return found.slice(0, MAX_TARGETS);
}

/** Keeps the file up to date until `signal` aborts. Never rejects: nothing depends on it now. */
export async function cacheEndpoints(options: EndpointCacheOptions, signal: AbortSignal): Promise<void> {
  const { clock, random, onTargets } = options;
  let written = '';
  await clock.sleep(FIRST_MS * (1 + random()), signal);
  while (!signal.aborted) {
    const targets = await fetchTargets(options, signal);
    if (targets.length > 0) {
      onTargets(targets);
      const text = `${JSON.stringify({ endpoints: targets.map(hostPortText) })}\n`;
      if (text !== written) await write(options, text);
      written = text;
    }
    await clock.sleep((targets.length > 0 ? REFRESH_MS : RETRY_MS) * (0.75 + random() / 2), signal);
  }
}

async function fetchTargets(
  { transport, clock, log }: EndpointCacheOptions,
  signal: AbortSignal,
): Promise<readonly HostPort[]> {
  try {
    return await inTime({ clock, signal, limitMs: ANSWER_MS }, async (ending) => {
      const response = await transport.open({ path: ENDPOINTS_PATH, signal: ending });
      const body = parseJson(await readBounded(response, MAX_BYTES));
      if (response.status !== 200) throw new Error(`the API server answered ${response.status}`);
      return targetsOf(body);
    });
  } catch (error) {
    log.debug({ err: error }, 'the EndpointSlice default/kubernetes cannot be read');
    return [];
  }
}

/** Another file takes the name at once, so that a power cut leaves the old one or the new one. */
async function write({ file, log }: EndpointCacheOptions, text: string): Promise<void> {
  try {
    await writeFile(`${file}.new`, text, { mode: 0o600, flush: true });
    await rename(`${file}.new`, file);
    log.info({ file, endpoints: text.trim() }, "the API server's own addresses are remembered for the next reboot");
  } catch (error) {
    const level = errorCode(error) === 'ENOENT' ? 'info' : 'warn';
    log[level](
      { file, err: error },
      "the API server's own addresses cannot be remembered: after a reboot the agent waits for kube-proxy (--api-server-endpoints-file)",
    );
  }
}
