/** The kinds of object that are watched. A new kind is a row here, a name in `ObjectKind`, a projection and a rule in manifests/base/rbac.yaml. */
import type { ObjectKind } from '../core/vocabulary.ts';
import type { ClusterPolicy, LabelledNode, Namespace, NodeRecord, Pod } from '../policy/model.ts';

import { isEligible, mayGetAddress } from '../policy/address-owners.ts';
import { AddressHistory } from './address-history.ts';
import { type StoredPolicy, projectStoredPolicy } from './stored-policy.ts';
import { ClusterPolicyBudget } from './cluster-policy-budget.ts';
import { LabelBudget } from './label-budget.ts';
import type { NamespaceTermination } from './namespace-termination.ts';
import { PolicyBudget } from './policy-budget.ts';
import {
  type ObjectRecord,
  type Project,
  projectClusterPolicy,
  projectLabelledNode,
  projectNamespace,
  projectNode,
  projectPod,
} from './project.ts';
import type { StoreOptions } from './store.ts';

/** How a kind is reached and what RBAC calls it. */
export interface Resource {
  readonly kind: ObjectKind;
  /** '' is the core group. */
  readonly apiGroup: string;
  readonly path: string;
  readonly namespaced: boolean;
  /** A server without this resource is complete: nothing waits for it. */
  readonly optional: boolean;
  /** Field selectors that leave out what counts for nothing, best first; a server may not know them. */
  readonly savings?: readonly string[];
}

/** What to make of a list that names nothing although objects are known. `ask-again`: a fact if the next lists say the same. */
export type EmptyList = 'fact' | 'ask-again' | 'not-believed';

/** What the rows need to know of the cluster that is watched. */
interface KindContext {
  readonly nodeName: string;
  readonly termination: NamespaceTermination;
}

export interface ApiKind<T extends ObjectRecord = ObjectRecord> extends Resource {
  readonly project: Project<T>;
  /** '' if the record does not carry one: a new object of the same name is then a change of the same one. */
  readonly uidOf: (record: T) => string;
  /** It is watched only while something asks for it. */
  readonly onDemand?: true;
  /** Name of the only object that is watched. Absent: all are. */
  readonly only?: (context: KindContext) => string;
  /** `known`: objects held. Absent: a fact. */
  readonly judgeEmpty?: (known: number) => EmptyList;
  readonly store?: (context: KindContext) => Pick<StoreOptions<T>, 'matters' | 'budget' | 'retention' | 'history'>;
}

/** The record that is kept of an object. */
export interface KindRecords {
  readonly pods: Pod;
  readonly namespaces: Namespace;
  readonly networkpolicies: StoredPolicy;
  readonly nodes: NodeRecord;
  readonly clusternetworkpolicies: ClusterPolicy;
  readonly clusternodes: LabelledNode;
}

export type ApiKinds = { readonly [K in ObjectKind]: ApiKind<KindRecords[K]> };

/** S-71: a finished pod is neither subject nor peer. One that finishes leaves the selection, which the watch tells as its deletion. */
const NOT_FINISHED = 'status.phase!=Succeeded,status.phase!=Failed';
/** S-64: a host-network pod is the node. Servers know this field since 1.28. */
const NOT_HOST_NETWORK = 'spec.hostNetwork=false';

export const API_KINDS: ApiKinds = {
  pods: {
    kind: 'pods',
    apiGroup: '',
    path: '/api/v1/pods',
    namespaced: true,
    optional: false,
    savings: [`${NOT_FINISHED},${NOT_HOST_NETWORK}`, NOT_FINISHED],
    project: projectPod,
    uidOf: (pod) => pod.uid,
    judgeEmpty: (known) => (known === 1 ? 'fact' : 'ask-again'),
    store: ({ nodeName }) => ({
      // A pod of this node that has no address yet may be told one by the CNI, before the API shows it.
      matters: (pod) => isEligible(pod) || (pod.nodeName === nodeName && mayGetAddress(pod)),
      budget: new LabelBudget(),
      history: new AddressHistory(),
    }),
  },
  namespaces: {
    kind: 'namespaces',
    apiGroup: '',
    path: '/api/v1/namespaces',
    namespaced: false,
    optional: false,
    project: projectNamespace,
    uidOf: (namespace) => namespace.uid,
    // A cluster without namespaces does not exist.
    judgeEmpty: () => 'not-believed',
  },
  networkpolicies: {
    kind: 'networkpolicies',
    apiGroup: 'networking.k8s.io',
    path: '/apis/networking.k8s.io/v1/networkpolicies',
    namespaced: true,
    optional: false,
    project: projectStoredPolicy,
    uidOf: (policy) => policy.uid,
    judgeEmpty: () => 'ask-again',
    store: ({ termination }) => ({ budget: new PolicyBudget(), retention: termination }),
  },
  nodes: {
    kind: 'nodes',
    apiGroup: '',
    path: '/api/v1/nodes',
    namespaced: false,
    optional: false,
    project: projectNode,
    uidOf: () => '',
    only: ({ nodeName }) => nodeName,
  },
  clusternetworkpolicies: {
    kind: 'clusternetworkpolicies',
    apiGroup: 'policy.networking.k8s.io',
    path: '/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies',
    namespaced: false,
    // N-3: its CRD is the user's to install.
    optional: true,
    project: projectClusterPolicy,
    uidOf: (policy) => policy.uid,
    judgeEmpty: () => 'ask-again',
    store: () => ({ budget: new ClusterPolicyBudget() }),
  },
  clusternodes: {
    kind: 'clusternodes',
    apiGroup: '',
    path: '/api/v1/nodes',
    namespaced: false,
    optional: false,
    // N-44: no cost for clusters without such rules.
    onDemand: true,
    project: projectLabelledNode,
    uidOf: () => '',
  },
};
