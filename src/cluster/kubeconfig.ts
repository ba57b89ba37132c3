/** Credentials from kubeconfig files, through the client library. Loaded only when a kubeconfig is used. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Agent, OutgoingHttpHeaders } from 'node:http';
import type { AgentOptions, RequestOptions } from 'node:https';
import { type Cluster, KubeConfig } from '@kubernetes/client-node';
import { ConnectionProblem, type Credentials, type CredentialSource, parseServer } from './credentials.ts';
import { describeFileFailure, errorCode } from './describe-failure.ts';
import { messageOf } from '../core/error-text.ts';

/**
 * Reads `files`; several are merged, the first one's context wins and missing ones are skipped, as kubectl does.
 * The library does the authentication: client certificates, tokens, token files, exec plugins, basic auth.
 */
export async function readKubeconfig(files: readonly string[]): Promise<CredentialSource> {
  const where = files.join(':');
  const { config, cluster } = await load(files, where);
  const server = parseServer(cluster.server, `kubeconfig ${where}: cluster ${cluster.name}: server`);
  let current = config;
  let stale = false;
  return {
    server,
    async read() {
      if (stale) {
        // A new KubeConfig also forgets what an exec plugin said: the library keeps that until it expires.
        current = (await load(files, where)).config;
        stale = false;
      }
      return readCredentials(current, where);
    },
    refresh: () => {
      stale = true;
    },
  };
}

async function load(files: readonly string[], where: string): Promise<{ config: KubeConfig; cluster: Cluster }> {
  const configs: KubeConfig[] = [];
  for (const file of files) {
    try {
      await readFile(file);
    } catch (error) {
      if (files.length > 1 && errorCode(error) === 'ENOENT') continue;
      throw new ConnectionProblem(describeFileFailure(error, 'kubeconfig', file), { cause: error });
    }
    configs.push(parse(file));
  }
  const [config, ...others] = configs;
  if (!config) throw new ConnectionProblem(`kubeconfig: none of ${where} exists`);
  for (const other of others) merge(config, other);
  const cluster = config.getCurrentCluster();
  if (!cluster)
    throw new ConnectionProblem(
      `kubeconfig ${where}: current-context "${config.currentContext ?? ''}" names no cluster of this file`,
    );
  return { config, cluster };
}

/** The first file to name something wins; the library's own merge refuses a second one. */
function merge(config: KubeConfig, other: KubeConfig): void {
  const isNew = <T extends { readonly name: string }>(known: readonly T[], candidate: T): boolean =>
    !known.some(({ name }) => name === candidate.name);
  config.clusters = [...config.clusters, ...other.clusters.filter((cluster) => isNew(config.clusters, cluster))];
  config.users = [...config.users, ...other.users.filter((user) => isNew(config.users, user))];
  config.contexts = [...config.contexts, ...other.contexts.filter((context) => isNew(config.contexts, context))];
  if (!config.currentContext) config.setCurrentContext(other.currentContext);
}

function parse(file: string): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromFile(file);
  } catch (error) {
    throw new ConnectionProblem(`kubeconfig ${file}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  // The library refuses http:// unless TLS checks are off; there is no TLS to check then.
  config.clusters = config.clusters.map((cluster) =>
    cluster.server?.startsWith('http:') ? { ...cluster, skipTLSVerify: true } : cluster,
  );
  return config;
}

async function readCredentials(config: KubeConfig, where: string): Promise<Credentials> {
  const options: RequestOptions & { auth?: string | null } = {};
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    const user = config.getCurrentUser()?.name ?? '';
    const text = messageOf(error).trim();
    throw new ConnectionProblem(`kubeconfig ${where}: credentials of user ${user}: ${text}`, { cause: error });
  }
  const cluster = config.getCurrentCluster();
  const tls = await tlsOptions(options, cluster, where);
  return {
    headers: headersOf(options),
    tls,
    tlsVersion: createHash('sha256').update(JSON.stringify(tls)).digest('hex'),
    caName: cluster?.caFile ?? `kubeconfig ${where}`,
    ...(cluster?.proxyUrl && options.agent ? { agent: options.agent as Agent } : {}),
  };
}

async function tlsOptions(options: RequestOptions, cluster: Cluster | null, where: string): Promise<AgentOptions> {
  const { cert, key, passphrase, pfx } = options;
  // Without a user the library leaves the cluster's own settings out.
  const ca = options.ca ?? (cluster ? await readCa(cluster, where) : undefined);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(pfx === undefined ? {} : { pfx }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(cluster?.tlsServerName ? { servername: cluster.tlsServerName } : {}),
    ...(cluster?.skipTLSVerify ? { rejectUnauthorized: false } : {}),
  };
}

async function readCa(cluster: Cluster, where: string): Promise<Buffer | undefined> {
  if (!cluster.caFile) return cluster.caData ? Buffer.from(cluster.caData, 'base64') : undefined;
  try {
    return await readFile(cluster.caFile);
  } catch (error) {
    throw new ConnectionProblem(describeFileFailure(error, `kubeconfig ${where}: CA`, cluster.caFile), {
      cause: error,
    });
  }
}

function headersOf(options: RequestOptions & { auth?: string | null }): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries((options.headers ?? {}) as OutgoingHttpHeaders))
    if (typeof value === 'string') headers[name.toLowerCase()] = value;
  if (options.auth) headers.authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  return headers;
}
