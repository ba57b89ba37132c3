/** `portcullis bundle`: what somebody needs who helps from afar, of this node, in one file and without secrets. */
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { arch, hostname, release } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../cluster/connection.ts';
import type { CommandContext } from './command.ts';
import type { AgentConfig } from './config.ts';

import { loadConnection } from '../cluster/connection.ts';
import { readList } from '../cluster/read-list.ts';
import { messageOf } from '../core/error-text.ts';
import { NFT_TABLE } from '../dataplane/nftables/table/names.ts';
import { runCommand } from '../host/command.ts';
import { HOST_FACTS } from '../host/read-interfaces.ts';
import { isRecord, type RawRecord } from '../policy/raw-values.ts';
import { describeConfig } from './config.ts';
import { EXIT_FAILURE, EXIT_OK } from './exit-codes.ts';
import { redact } from './redact.ts';
import { pagesAt } from './running-agent.ts';

const BUNDLE_VERSION = 1;
const PAGES = ['/readyz?verbose', '/status', '/metrics', '/plan', '/denials', '/log'] as const;
/** By the names under which a bundle has what they printed. */
export const BUNDLE_COMMANDS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  ...HOST_FACTS,
  'iptables-nft': ['iptables-nft-save', '-c'],
  'ip6tables-nft': ['ip6tables-nft-save', '-c'],
  'iptables-legacy': ['iptables-legacy-save', '-c'],
  'ip6tables-legacy': ['ip6tables-legacy-save', '-c'],
  ipset: ['ipset', 'save'],
  nftables: ['nft', '-p', 'list', 'table', 'inet', NFT_TABLE],
  // Where pods are ports of bridges.
  'nftables bridge': ['nft', '-p', 'list', 'table', 'bridge', NFT_TABLE],
  // Of all tables: what else is at the hooks.
  'nftables chains': ['nft', 'list', 'chains'],
  'iptables version': ['iptables', '--version'],
  'ipset version': ['ipset', '--version'],
  'nft version': ['nft', '--version'],
  'conntrack count': ['conntrack', '-C'],
  addresses: ['ip', '-brief', 'address'],
};
const TIMEOUT_MS = 10_000;
const MAX_BYTES = 64 * 1024 * 1024;

/** What was found, or why it could not be. */
type Part = { readonly found: unknown } | { readonly problem: string };

/** `file`: `-` for standard output. */
export async function runBundle(
  { file, config }: { readonly file: string; readonly config: AgentConfig },
  { out, err, env, version, signal }: CommandContext,
): Promise<number> {
  const secrets = await readSecrets(config);
  const [pages, commands, objects] = await Promise.all([
    eachPart(PAGES, (page) => ask(config, page, secrets.httpToken, signal)),
    eachPart(Object.keys(BUNDLE_COMMANDS), (name) => output(BUNDLE_COMMANDS[name]!)),
    part(() => readObjects(config, env, signal)),
  ]);
  const about = { portcullis: version, node: process.version, kernel: release(), arch: arch(), host: hostname() };
  const bundle = {
    version: BUNDLE_VERSION,
    made: new Date().toISOString(),
    about,
    config: describeConfig(config),
    pages,
    commands,
    objects,
  };
  const text = `${redact(JSON.stringify(bundle, null, 1), secrets.all)}\n`;
  try {
    if (file === '-') out(text);
    else {
      await writeFile(file, text, { mode: 0o600 });
      out(`${file}: ${Math.ceil(text.length / 1024)} KiB, of node ${config.nodeName}\n`);
    }
    return EXIT_OK;
  } catch (error) {
    err(`portcullis bundle: ${messageOf(error)}\n`);
    return EXIT_FAILURE;
  }
}

async function part(make: () => Promise<unknown>): Promise<Part> {
  try {
    return { found: await make() };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

async function eachPart<K extends string>(
  names: readonly K[],
  make: (name: K) => Promise<unknown>,
): Promise<Readonly<Record<string, Part>>> {
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await part(() => make(name))] as const)),
  );
}

async function output(argv: readonly [string, ...string[]]): Promise<string> {
  return (await runCommand({ argv, timeoutMs: TIMEOUT_MS })).stdout;
}

/** Of the agent on this node. */
function ask(config: AgentConfig, path: string, token: string | undefined, signal: AbortSignal): Promise<string> {
  const { httpAddress: address } = config;
  if (address === null) throw new Error('the agent has no pages: --http-address=off');
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return new Promise((resolve, reject) => {
    const asked = request(
      { ...pagesAt(address), path, headers, agent: false, timeout: TIMEOUT_MS, signal },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
      },
    );
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    asked.on('error', reject);
    asked.end();
  });
}

/** Policies as written, of all else what decides who is selected. No annotation, no environment, no volume. */
async function readObjects(config: AgentConfig, env: CommandContext['env'], signal: AbortSignal): Promise<unknown> {
  const { apiAccess: access } = config;
  const connection = await loadConnection({
    env,
    ...(access.kind === 'kubeconfig' ? { kubeconfig: access.path } : { serviceAccountDir: access.dir }),
  });
  try {
    const [policies, namespaces, pods] = await Promise.all([
      items(connection, '/apis/networking.k8s.io/v1/networkpolicies', signal),
      items(connection, '/api/v1/namespaces', signal),
      items(connection, `/api/v1/pods?fieldSelector=${encodeURIComponent(`spec.nodeName=${config.nodeName}`)}`, signal),
    ]);
    return {
      policies: policies.map((object) => ({ ...identity(object), spec: object.spec })),
      namespaces: namespaces.map(identity),
      pods: pods.map((object) => ({ ...identity(object), ...podFacts(object) })),
    };
  } finally {
    connection.close();
  }
}

function identity({ metadata }: RawRecord): RawRecord {
  if (!isRecord(metadata)) return {};
  const { namespace, name, generation, resourceVersion, creationTimestamp, deletionTimestamp, labels } = metadata;
  return { namespace, name, generation, resourceVersion, creationTimestamp, deletionTimestamp, labels };
}

function podFacts({ spec, status }: RawRecord): RawRecord {
  const { nodeName, hostNetwork } = isRecord(spec) ? spec : {};
  const { phase, podIPs } = isRecord(status) ? status : {};
  return { nodeName, hostNetwork, phase, podIPs };
}

async function items(connection: Connection, path: string, signal: AbortSignal): Promise<readonly RawRecord[]> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const page = await readList(connection, { path, signal: limited }, MAX_BYTES);
  if (page.kind === 'list') return page.items.filter(isRecord);
  throw new Error(`${path}: HTTP ${page.kind === 'refused' ? page.status : 200}`);
}

/** What must not be in the file, wherever it comes from. */
async function readSecrets({ httpTokenFile, apiAccess }: AgentConfig): Promise<{
  readonly httpToken: string | undefined;
  readonly all: readonly string[];
}> {
  const httpToken = httpTokenFile === null ? undefined : await secretIn(httpTokenFile);
  const account = apiAccess.kind === 'service-account' ? await secretIn(join(apiAccess.dir, 'token')) : undefined;
  const inKubeconfig =
    apiAccess.kind === 'kubeconfig' ? secretsOfKubeconfig((await secretIn(apiAccess.path)) ?? '') : [];
  return { httpToken, all: [httpToken, account, ...inKubeconfig].filter((each) => each !== undefined) };
}

async function secretIn(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim() || undefined;
  } catch {
    return undefined;
  }
}

/** YAML or JSON. */
function secretsOfKubeconfig(text: string): readonly string[] {
  return [...text.matchAll(/\b(?:token|password|client-key-data)["']?\s*:\s*["']?([^\s"',}]+)/g)].map(
    ([, secret]) => secret!,
  );
}
