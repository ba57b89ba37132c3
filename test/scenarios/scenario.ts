/**
 * Scenario tables as data: a cluster, what happens to it, and who reaches whom afterwards. They know nothing of the depth they
 * run at: the reference evaluator, packets traced through rendered rules, real packets in a lab. Addresses are the depth's own;
 * policies name them with placeholders (support/address-plan.ts).
 *
 * Before the first step of a scenario there is no policy and everything reaches everything.
 */
import type { Protocol } from '../../src/core/vocabulary.ts';
import type { Labels, PodPhase } from '../../src/policy/model.ts';
import { type PolicyObject, type PolicySpec, policyObject, splitKey } from '../support/builders.ts';

export interface Scenario {
  /** E-, U-, P- and R-: public suites; F-: facts other projects learned; G-: our own (docs/conformance.md). */
  readonly id: string;
  readonly title: string;
  /** Clauses of the semantics this scenario is about. */
  readonly cites: readonly string[];
  /** Holds objects that a validating API server refuses today but may have stored once (S-50). */
  readonly refusedByApi?: true;
  readonly topology: Topology;
  readonly steps: readonly Step[];
}

export interface Topology {
  readonly nodes: readonly string[];
  /** Labels besides `kubernetes.io/metadata.name`, by namespace. */
  readonly namespaces: Readonly<Record<string, Labels>>;
  readonly pods: readonly PodSpec[];
  /** Hosts that are neither pods nor nodes. */
  readonly outside: readonly OutsideSpec[];
  readonly nodePorts: readonly NodePortSpec[];
}

export interface PodSpec {
  /** `namespace/name`, also the endpoint's name in tables. */
  readonly key: string;
  readonly node: string;
  readonly labels: Labels;
  /** Is its node on the network: sends from and answers on the node's addresses. */
  readonly hostNetwork: boolean;
  readonly ports: readonly ContainerPort[];
}

/** A declared port. Declaring and listening are unrelated: every endpoint listens on whatever the tables probe. */
export interface ContainerPort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** `main-2` is a second regular container, `init` an init container that ends, `sidecar` one with restartPolicy Always. */
  readonly container: 'main' | 'main-2' | 'init' | 'sidecar';
}

export interface OutsideSpec {
  readonly name: string;
  /** Only where the address itself is the point; at most one per family. The depth chooses otherwise. */
  readonly addresses?: readonly string[];
}

/** A Service of type NodePort with one pod behind it. */
export interface NodePortSpec {
  readonly pod: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly nodePort: number;
  readonly externalTrafficPolicy: 'Cluster' | 'Local';
}

export interface Step {
  readonly name?: string;
  /** In this order, as fast as the depth can. */
  readonly changes: readonly Change[];
  /** Holds once the changes have taken effect. */
  readonly expect: readonly Expectation[];
}

export type Change =
  /** Creates or replaces a policy; placeholders are still in it. */
  | { readonly kind: 'apply'; readonly object: PolicyObject }
  | { readonly kind: 'delete-policy'; readonly policy: string }
  /** Merged into what is there; null takes a label away. */
  | { readonly kind: 'label-namespace'; readonly namespace: string; readonly labels: LabelPatch }
  | { readonly kind: 'label-pod'; readonly pod: string; readonly labels: LabelPatch }
  /** Object and, if it still has one, sandbox. */
  | { readonly kind: 'delete-pod'; readonly pod: string }
  /**
   * Its creationTimestamp is later than that of every pod before. `addressesOf`: gets the addresses of that pod, whose sandbox
   * is gone from then on while its object stays as it is.
   */
  | { readonly kind: 'create-pod'; readonly pod: PodSpec; readonly addressesOf?: string }
  | { readonly kind: 'set-phase'; readonly pod: string; readonly phase: PodPhase }
  /** Sets metadata.deletionTimestamp; the pod lives on. */
  | { readonly kind: 'terminate'; readonly pod: string }
  /** Which of its addresses `status.podIPs` lists. The pod uses them all, listed or not. */
  | {
      readonly kind: 'publish-addresses';
      readonly pod: string;
      readonly addresses: 'none' | 'only4' | 'only6' | 'all';
    };

export type LabelPatch = Readonly<Record<string, string | null>>;

export type ProbeProtocol = Protocol | 'ICMP';

/** `cluster-ip`: through a Service of the receiving pod alone, same port; a depth without Services may use the pod's address. */
export type Via = 'pod-ip' | 'cluster-ip' | { readonly nodePortOf: string };

export interface Expectation {
  /** ICMP: echo request, ICMPv6 in family 6. */
  readonly protocol: ProbeProtocol;
  /** The port the receiver listens on; 0 for ICMP. */
  readonly port: number;
  readonly via: Via;
  /** Both if absent. A cell is not asked in a family that one of its ends lacks. */
  readonly families?: readonly (4 | 6)[];
  /** support/truth-table.ts; names are pods (`x/a`), nodes and outside hosts. */
  readonly table: string;
}

// --- short ways to write the above ---

type PodOptions = Partial<Omit<PodSpec, 'key'>>;

const DEFAULT_PORTS = [80, 81].flatMap((port) =>
  (['TCP', 'UDP', 'SCTP'] as const).map((protocol) =>
    declares(`serve-${port}-${protocol.toLowerCase()}`, protocol, port),
  ),
);

export function declares(
  name: string,
  protocol: Protocol,
  port: number,
  container: ContainerPort['container'] = 'main',
): ContainerPort {
  return { name, protocol, port, container };
}

/** A pod on node-1 with the label `pod: <name>` that declares 80 and 81 as `serve-80-tcp` and so on. */
export function podSpec(key: string, options: PodOptions = {}): PodSpec {
  return {
    key,
    node: 'node-1',
    labels: { pod: splitKey(key).name },
    hostNetwork: false,
    ports: DEFAULT_PORTS,
    ...options,
  };
}

/**
 * `x/ab y/a`: pods a and b in namespace x, a in y; on two nodes by turns, so that every table has pairs on one node and pairs on
 * two. `others`: more pods. Every namespace has the label `ns: <name>` unless `namespaces` says otherwise.
 */
export function topology(
  short: string,
  more: Partial<Omit<Topology, 'pods'>> & { readonly pods?: readonly PodSpec[] } = {},
): Topology {
  const keys = short
    .split(' ')
    .filter((group) => group !== '')
    .flatMap((group) => {
      const [name = '', letters = ''] = group.split('/');
      return letters.split('').map((letter) => `${name}/${letter}`);
    });
  const pods = [...keys.map((key, index) => podSpec(key, { node: `node-${(index % 2) + 1}` })), ...(more.pods ?? [])];
  const names = new Set(pods.map(({ key }) => splitKey(key).namespace));
  return {
    nodes: ['node-1', 'node-2'],
    outside: [],
    nodePorts: [],
    ...more,
    namespaces: { ...Object.fromEntries([...names].map((name) => [name, { ns: name }])), ...more.namespaces },
    pods,
  };
}

export function apply(key: string, spec: PolicySpec): Change {
  return { kind: 'apply', object: policyObject(key, spec) };
}

export function deletePolicy(policy: string): Change {
  return { kind: 'delete-policy', policy };
}

export const step = (changes: Change | readonly Change[], ...expect: Expectation[]): Step => ({
  changes: [changes].flat(),
  expect,
});

export const named = (name: string, each: Step): Step => ({ name, ...each });

export const tcp = (port: number, table: string): Expectation => ({ protocol: 'TCP', port, via: 'pod-ip', table });
export const udp = (port: number, table: string): Expectation => ({ protocol: 'UDP', port, via: 'pod-ip', table });
export const sctp = (port: number, table: string): Expectation => ({ protocol: 'SCTP', port, via: 'pod-ip', table });
export const icmp = (table: string): Expectation => ({ protocol: 'ICMP', port: 0, via: 'pod-ip', table });

export const only = (families: Expectation['families'] & object, each: Expectation): Expectation => ({
  ...each,
  families,
});
export const through = (via: Via, each: Expectation): Expectation => ({ ...each, via });

/** Selectors. */
export const podIs = (name: string) => ({ matchLabels: { pod: name } });
export const nsIs = (name: string) => ({ matchLabels: { ns: name } });
export const labelled = (labels: Labels) => ({ matchLabels: labels });
export const where = (key: string, operator: string, ...values: string[]) => ({
  matchExpressions: [values.length > 0 ? { key, operator, values } : { key, operator }],
});
