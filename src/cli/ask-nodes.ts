/** Asks the agents of all nodes for /status, or another page, by the API server's pod proxy and with the rights of whoever asks. */
import type { Connection } from '../cluster/connection.ts';
import type { StatusPage } from '../telemetry/status-page.ts';
import type { NodeAnswer, Wanted } from './judge-nodes.ts';

import { messageOf } from '../core/error-text.ts';
import { isOlderVersion } from '../cluster/relist.ts';
import { parseJson, readBounded, readStatus } from '../cluster/read-answer.ts';
import { readList } from '../cluster/read-list.ts';
import { isRecord } from '../policy/raw-values.ts';
import { TOKEN_HEADER } from '../telemetry/health.ts';
import { STATUS_VERSION } from '../telemetry/status-page.ts';

export interface AskOptions {
  readonly connection: Connection;
  readonly namespace: string;
  /** Label selector of the agents' pods. */
  readonly selector: string;
  /** Where a pod names none. */
  readonly port: number;
  /** Of --http-token-file of the agents. */
  readonly token: string | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Cannot be told, for reasons that are not the nodes'. */
export class CannotAsk extends Error {
  override readonly name = 'CannotAsk';
}

interface Listed {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly generation?: number;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
}

interface ListedPod extends Listed {
  readonly spec?: {
    readonly nodeName?: string;
    readonly containers?: readonly {
      readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
    }[];
  };
  readonly status?: { readonly phase?: string };
}

const MAX_ANSWER = 256 * 1024 * 1024;
/** Asked at once. */
const PARALLEL = 32;
/** As the DaemonSet names it. */
const PORT_NAME = 'metrics';
/** Kinds of nodes that the DaemonSet leaves out. */
const WITHOUT_AGENT: Readonly<Record<string, readonly string[]>> = {
  'eks.amazonaws.com/compute-type': ['fargate', 'hybrid', 'auto'],
  'kubernetes.io/os': ['windows'],
};

/** What the API server has of policies. Throws `CannotAsk`. */
export async function readWanted(options: AskOptions, key: string | undefined): Promise<Wanted> {
  const all = (await list(options, '/apis/networking.k8s.io/v1/networkpolicies', 'networkpolicies')) as Listed[];
  const keyOf = ({ metadata }: Listed): string => `${metadata.namespace}/${metadata.name}`;
  const newest = all.reduce<Listed | undefined>((a, b) => (a && !isOlder(a, b) ? a : b), undefined);
  const policy = key === undefined ? newest : all.find((each) => keyOf(each) === key);
  if (key !== undefined && !policy) throw new CannotAsk(`the API server has no NetworkPolicy ${key}`);
  const version = newest?.metadata.resourceVersion;
  return {
    only: key !== undefined,
    ...(policy ? { policy: { key: keyOf(policy), generation: policy.metadata.generation ?? 0 } } : {}),
    ...(version === undefined ? {} : { version }),
  };
}

function isOlder(a: Listed, b: Listed): boolean {
  return isOlderVersion(a.metadata.resourceVersion ?? '', b.metadata.resourceVersion ?? '');
}

/** Throws `CannotAsk`. */
export async function askNodes(options: AskOptions, wanted: Wanted): Promise<readonly NodeAnswer[]> {
  const [agents, nodes] = await Promise.all([listAgents(options), list(options, '/api/v1/nodes', 'nodes')]);
  const served = new Set(agents.map(({ spec }) => spec!.nodeName!));
  const missing = (nodes as Listed[]).filter(
    ({ metadata }) => !served.has(metadata.name) && mayHaveAgent(metadata.labels),
  );
  const answers = await inParallel(agents, (pod) => askPod(options, pod, wanted));
  const problem = 'no agent runs there';
  return [...newestOf(answers), ...missing.map(({ metadata }) => ({ node: metadata.name, answer: { problem } }))];
}

/** Policies can be enforced on a node with these labels. */
export function mayHaveAgent(labels: Readonly<Record<string, string>> = {}): boolean {
  return Object.entries(WITHOUT_AGENT).every(([key, values]) => !values.includes(labels[key] ?? ''));
}

/** While an agent is replaced its node has two: the one that answers counts. */
function newestOf(answers: readonly NodeAnswer[]): readonly NodeAnswer[] {
  const byNode = new Map<string, NodeAnswer>();
  for (const each of answers) {
    const known = byNode.get(each.node);
    if (!known || 'problem' in known.answer) byNode.set(each.node, each);
  }
  return [...byNode.values()];
}

async function askPod(options: AskOptions, pod: ListedPod, wanted: Wanted): Promise<NodeAnswer> {
  const answer = await askedOf(options, pod, () => askPage(options, pod, wanted));
  return { node: pod.spec!.nodeName!, pod: pod.metadata.name, answer };
}

async function askedOf<T>(
  options: AskOptions,
  { metadata: { name }, status }: ListedPod,
  ask: () => Promise<T>,
): Promise<T | { readonly problem: string }> {
  const { phase = 'Unknown' } = status ?? {};
  if (phase !== 'Running') return { problem: `its agent is not running: pod ${name} is ${phase}` };
  try {
    return await ask();
  } catch (error) {
    if (options.signal.aborted) throw error;
    const isLate = error instanceof DOMException;
    const why = isLate ? `the agent does not answer within ${options.timeoutMs / 1000} s` : messageOf(error);
    return { problem: `${why}; see kubectl -n ${options.namespace} logs ${name}` };
  }
}

async function askPage(options: AskOptions, pod: ListedPod, { policy, only }: Wanted): Promise<NodeAnswer['answer']> {
  const query = new URLSearchParams({
    ...(only ? {} : { policies: 'unsettled' }),
    ...(policy ? { policy: policy.key } : {}),
  });
  const answer = await readPage(options, pod, `/status?${query.toString()}`);
  if ('problem' in answer) return answer;
  const page = parseJson(answer.body);
  if (!isRecord(page) || !('version' in page)) return { problem: 'what answers at its port is no agent' };
  if (page.version !== STATUS_VERSION)
    return { problem: `its agent answers in format ${String(page.version)}, this program reads ${STATUS_VERSION}` };
  return { page: page as unknown as StatusPage };
}

/** `status`: of an answer that is none. */
type PageAnswer = { readonly body: Buffer } | { readonly problem: string; readonly status?: number };

async function readPage(options: AskOptions, pod: ListedPod, page: string): Promise<PageAnswer> {
  const { namespace, token } = options;
  const target = `${pod.metadata.name}:${portOf(pod) ?? options.port}`;
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${target}/proxy${page}`;
  const headers = token === undefined ? {} : { headers: { [TOKEN_HEADER]: token } };
  const response = await options.connection.open({ path, signal: limited(options), ...headers });
  if (response.status === 200) return { body: await readBounded(response, MAX_ANSWER) };
  const { said } = await readStatus(response);
  const { status } = response;
  return { status, problem: refusalText(status, said, namespace, page.split('?', 1)[0]!) };
}

export interface AgentPage {
  readonly node: string;
  readonly pod: string;
  readonly answer: PageAnswer;
}

/** One page of the agents of these nodes; absent: of all that have one. Throws `CannotAsk`. */
export async function readPages(
  options: AskOptions,
  page: string,
  nodes?: readonly string[],
): Promise<readonly AgentPage[]> {
  const agents = (await listAgents(options)).filter(({ spec }) => nodes?.includes(spec!.nodeName!) ?? true);
  return inParallel(agents, async (pod) => ({
    node: pod.spec!.nodeName!,
    pod: pod.metadata.name,
    answer: await askedOf(options, pod, () => readPage(options, pod, page)),
  }));
}

async function listAgents(options: AskOptions): Promise<readonly ListedPod[]> {
  const { namespace, selector } = options;
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods?labelSelector=${encodeURIComponent(selector)}`;
  const pods = (await list(options, path, 'pods')) as readonly ListedPod[];
  if (pods.length === 0)
    throw new CannotAsk(`no agent: namespace ${namespace} has no pod with ${selector}; see --namespace and --selector`);
  return pods.filter(({ spec }) => spec?.nodeName !== undefined);
}

function refusalText(status: number, said: string, namespace: string, page: string): string {
  switch (status) {
    case 401:
      return said.includes(TOKEN_HEADER)
        ? 'its agent asks for the token of --http-token-file: give a file with it as --token-file'
        : `the API server does not know you: ${said}`;
    case 403:
      return `you may not ask it: ${said} (verb get on pods/proxy in namespace ${namespace})`;
    case 404:
      return page === '/status' || page === '/trace'
        ? `its agent has no ${page}: an older version? (${said})`
        : `its agent does not show ${page} to other hosts: it does with --http-token-file and --metrics-address (${said})`;
    case 502:
    case 503:
      return `the API server does not reach its agent: ${said}; is --metrics-address open to it?`;
    default:
      return `HTTP ${status}: ${said}`;
  }
}

function portOf({ spec }: ListedPod): number | undefined {
  const ports = (spec?.containers ?? []).flatMap(({ ports = [] }) => ports);
  return ports.find(({ name }) => name === PORT_NAME)?.containerPort;
}

async function list(options: AskOptions, path: string, what: string): Promise<readonly unknown[]> {
  try {
    const page = await readList(options.connection, { path, signal: limited(options) }, MAX_ANSWER);
    if (page.kind === 'list') return page.items;
    throw new Error(page.kind === 'refused' ? `HTTP ${page.status}: ${page.said}` : 'the answer is no list');
  } catch (error) {
    if (options.signal.aborted) throw error;
    const why = error instanceof DOMException ? `no answer within ${options.timeoutMs / 1000} s` : messageOf(error);
    throw new CannotAsk(`${options.connection.server}: cannot list ${what}: ${why}`);
  }
}

function limited({ signal, timeoutMs }: AskOptions): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
}

async function inParallel<T, R>(items: readonly T[], ask: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  const left = items.entries();
  const work = async (): Promise<void> => {
    for (const [index, item] of left) results[index] = await ask(item);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, work));
  return results;
}
