/** Credentials from the files that the kubelet puts into a pod. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, systemClock } from '../core/clock.ts';
import { bracketed } from '../net/host-port.ts';
import { ConnectionProblem, type CredentialSource, parseServer } from './credentials.ts';
import { describeFileFailure } from './describe-failure.ts';

const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';
/** As client-go: a bound token lives an hour and is replaced at 80 % of that. */
const TOKEN_MAX_AGE_MS = 60_000;

export interface ServiceAccountOptions {
  readonly serviceAccountDir?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock?: Clock;
  /** Called when credentials or CA can no longer be read and the last good ones stay in use. */
  readonly onWarning?: (message: string) => void;
}

/** The projected service account of the pod: token re-read every 60 s, CA when its file changes. */
export function serviceAccount(options: ServiceAccountOptions, host: string): CredentialSource {
  const directory = options.serviceAccountDir ?? SERVICE_ACCOUNT_DIR;
  const port = options.env.KUBERNETES_SERVICE_PORT || '443';
  const server = parseServer(
    `https://${bracketed(host)}:${port}`,
    'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT',
  );
  const token = tokenFile(join(directory, 'token'), options);
  const ca = caFile(join(directory, 'ca.crt'), options);
  return {
    server,
    async read() {
      const [authority, bearer] = await Promise.all([ca(), token.read()]);
      return {
        headers: { authorization: `Bearer ${bearer}` },
        tls: { ca: authority.pem },
        tlsVersion: authority.version,
        caName: join(directory, 'ca.crt'),
      };
    },
    refresh: () => token.refresh(),
  };
}

function tokenFile(file: string, options: ServiceAccountOptions): { read(): Promise<string>; refresh(): void } {
  const clock = options.clock ?? systemClock;
  let token: string | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;
  return {
    async read() {
      if (token !== undefined && clock.now() - readAtMs < TOKEN_MAX_AGE_MS) return token;
      try {
        const text = (await readFile(file, 'utf8')).trim();
        if (text === '') throw new ConnectionProblem(`service account token: file ${file} is empty`);
        token = text;
        readAtMs = clock.now();
      } catch (error) {
        // While the kubelet swaps the volume the file may be gone for a moment; an old token is better than none.
        token = keepLast(token, fileProblem(error, 'service account token', file), options);
      }
      return token;
    },
    refresh: () => {
      readAtMs = Number.NEGATIVE_INFINITY;
    },
  };
}

function caFile(file: string, options: ServiceAccountOptions): () => Promise<{ pem: string; version: string }> {
  let last: { pem: string; version: string } | undefined;
  return async () => {
    try {
      const { mtimeMs, size, ino } = await stat(file);
      const version = `${ino}:${mtimeMs}:${size}`;
      if (last?.version === version) return last;
      const pem = await readFile(file, 'utf8');
      if (!pem.includes('-----BEGIN CERTIFICATE-----'))
        throw new ConnectionProblem(`service account CA: file ${file} holds no PEM certificate`);
      last = { pem, version };
    } catch (error) {
      last = keepLast(last, fileProblem(error, 'service account CA', file), options);
    }
    return last;
  };
}

function keepLast<T>(last: T | undefined, problem: ConnectionProblem, options: ServiceAccountOptions): T {
  if (last === undefined) throw problem;
  options.onWarning?.(`${problem.message}; the last good one stays in use`);
  return last;
}

function fileProblem(error: unknown, what: string, file: string): ConnectionProblem {
  if (error instanceof ConnectionProblem) return error;
  return new ConnectionProblem(describeFileFailure(error, what, file), { cause: error });
}
