/** The cluster of a scenario: the first block of YAML under its heading. */
import { PROTOCOLS } from '../../src/core/vocabulary.ts';
import { splitKey } from '../support/builders.ts';
import type { ContainerPort, NodePortSpec, OutsideSpec, PodSpec, Topology } from './scenario.ts';
import { asMapping, fail, labelsOf, oneOf, onlyKeys, podName, portNumber, type Source } from './source.ts';

const NODES = ['node-1', 'node-2'] as const;

export const DEFAULT_PORTS: readonly ContainerPort[] = [80, 81].flatMap((port) =>
  PROTOCOLS.map((protocol): ContainerPort => {
    return { name: `serve-${port}-${protocol.toLowerCase()}`, protocol, port, container: 'main' };
  }),
);

export function readCluster(value: Readonly<Record<string, unknown>>, source: Source): Topology {
  onlyKeys(value, ['pods', 'namespaces', 'outside', 'nodePorts'], source, 'a cluster');
  const pods = Object.entries(byName(value.pods, source, 'pods')).map(([key, fields], index) =>
    readPod(key, fields, index, source),
  );
  return {
    nodes: NODES,
    namespaces: readNamespaces(value.namespaces, pods, source),
    pods,
    outside: Object.entries(byName(value.outside ?? {}, source, 'outside')).map(([name, addresses]) =>
      readOutside(name, addresses, source),
    ),
    nodePorts: list(value.nodePorts, source, 'nodePorts').map((each) => readNodePort(each, source)),
  };
}

/** Names in one line, or a mapping from name to fields. */
function byName(value: unknown, source: Source, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'string') return asMapping(value, source, what);
  const names = value.split(' ');
  if (new Set(names).size < names.length) fail(source, `${what} names one twice`);
  return Object.fromEntries(names.map((name) => [name, null]));
}

function list(value: unknown, source: Source, what: string): readonly unknown[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as readonly unknown[]) : fail(source, `${what} is no list`);
}

/** `index`: the pod's place in the cluster. Pods are on the nodes by turns, so that most tables have pairs on one node and on two. */
function readPod(key: string, value: unknown, index: number, source: Source): PodSpec {
  const fields = asMapping(value ?? {}, source, `pod ${key}`);
  onlyKeys(fields, ['node', 'labels', 'hostNetwork', 'ports'], source, `pod ${key}`);
  return {
    ...defaultPod(podName(key, source), oneOf(fields.node ?? NODES[index % NODES.length], NODES, source, 'node')),
    ...('labels' in fields ? { labels: labelsOf(fields.labels, source) } : {}),
    ...('hostNetwork' in fields
      ? { hostNetwork: oneOf(fields.hostNetwork, [true, false], source, 'hostNetwork') }
      : {}),
    ...('ports' in fields ? { ports: list(fields.ports, source, 'ports').map((port) => readPort(port, source)) } : {}),
  };
}

/** Has the label `pod: <name>` and declares 80 and 81 of every protocol, as `serve-80-tcp` and so on. */
export function defaultPod(key: string, node: string): PodSpec {
  return { key, node, labels: { pod: splitKey(key).name }, hostNetwork: false, ports: DEFAULT_PORTS };
}

/** `web TCP 80`, `web TCP 80 in sidecar`. */
function readPort(value: unknown, source: Source): ContainerPort {
  const match = /^(\S+) (\S+) (\d+)(?: in (\S+))?$/.exec(String(value));
  if (match === null) return fail(source, `${JSON.stringify(value)} is no port like "web TCP 80"`);
  const [, name = '', protocol, port, container = 'main'] = match;
  return {
    name,
    protocol: oneOf(protocol, PROTOCOLS, source, 'protocol'),
    port: portNumber(port, source),
    container: oneOf(container, ['main', 'main-2', 'init', 'sidecar'], source, 'container'),
  };
}

/** A namespace that is not described has the label `ns: <name>`. */
function readNamespaces(value: unknown, pods: readonly PodSpec[], source: Source): Topology['namespaces'] {
  const described = Object.entries(asMapping(value ?? {}, source, 'namespaces'));
  const defaults = pods.map(({ key }) => splitKey(key).namespace).map((name) => [name, { ns: name }] as const);
  return Object.fromEntries([
    ...defaults,
    ...described.map(([name, labels]) => [name, labelsOf(labels, source)] as const),
  ]);
}

function readOutside(name: string, value: unknown, source: Source): OutsideSpec {
  if (value === null) return { name };
  return { name, addresses: list(value, source, `addresses of ${name}`).map(String) };
}

function readNodePort(value: unknown, source: Source): NodePortSpec {
  const fields = asMapping(value, source, 'a node port');
  onlyKeys(fields, ['nodePort', 'pod', 'protocol', 'port', 'externalTrafficPolicy'], source, 'a node port');
  return {
    pod: podName(fields.pod, source),
    protocol: oneOf(fields.protocol, PROTOCOLS, source, 'protocol'),
    port: portNumber(fields.port, source),
    nodePort: portNumber(fields.nodePort, source),
    externalTrafficPolicy: oneOf(fields.externalTrafficPolicy, ['Cluster', 'Local'], source, 'externalTrafficPolicy'),
  };
}
