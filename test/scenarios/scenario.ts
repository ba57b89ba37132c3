/**
 * Scenario tables as data: a cluster, what happens to it, and who reaches whom afterwards. They know nothing of the depth they
 * run at: the reference evaluator, packets traced through rendered rules, real packets in a lab. Addresses are the depth's own;
 * policies name them with placeholders (support/address-plan.ts).
 *
 * Before the first step of a scenario there is no policy and everything reaches everything.
 */
import type { PolicyMode, Protocol } from '../../src/core/vocabulary.ts';
import type { Labels, PodPhase } from '../../src/policy/model.ts';
import type { ClusterPolicyObject, PolicyObject } from '../support/builders.ts';

export interface Scenario {
  /** E-, U-, P- and R-: public suites; F-: facts other projects learned; G- and T-: our own, T- of tiers (docs/conformance.md). */
  readonly id: string;
  readonly title: string;
  /** Clauses of the semantics this scenario is about. */
  readonly cites: readonly string[];
  /** Holds objects that a validating API server refuses today but may have stored once (S-50). */
  readonly refusedByApi?: true;
  /** The agent reports parts of its policies that it does not understand (N-90). */
  readonly unsupported?: true;
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
  | { readonly kind: 'apply'; readonly object: PolicyObject | ClusterPolicyObject }
  | { readonly kind: 'delete-policy'; readonly policy: string }
  | { readonly kind: 'delete-cluster-policy'; readonly policy: string }
  | { readonly kind: 'label-node'; readonly node: string; readonly labels: LabelPatch }
  /** Its annotation. `object`: `namespace/name` of a policy, or a namespace; null takes it away. */
  | { readonly kind: 'set-mode'; readonly object: string; readonly mode: PolicyMode | null }
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
