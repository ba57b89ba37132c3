import type { ObjectKind } from '../core/vocabulary.ts';

/** How a kind is reached and what RBAC calls it. */
export interface Resource {
  readonly kind: ObjectKind;
  /** '' is the core group. */
  readonly apiGroup: string;
  readonly path: string;
  readonly namespaced: boolean;
  /** Field selectors that leave out what counts for nothing, best first; a server may not know them. */
  readonly savings?: readonly string[];
}

/** S-71: a finished pod is neither subject nor peer. One that finishes leaves the selection, which the watch tells as its deletion. */
const NOT_FINISHED = 'status.phase!=Succeeded,status.phase!=Failed';
/** S-64: a host-network pod is the node. Servers know this field since 1.28. */
const NOT_HOST_NETWORK = 'spec.hostNetwork=false';

export const RESOURCES: Readonly<Record<ObjectKind, Resource>> = {
  namespaces: { kind: 'namespaces', apiGroup: '', path: '/api/v1/namespaces', namespaced: false },
  nodes: { kind: 'nodes', apiGroup: '', path: '/api/v1/nodes', namespaced: false },
  networkpolicies: {
    kind: 'networkpolicies',
    apiGroup: 'networking.k8s.io',
    path: '/apis/networking.k8s.io/v1/networkpolicies',
    namespaced: true,
  },
  pods: {
    kind: 'pods',
    apiGroup: '',
    path: '/api/v1/pods',
    namespaced: true,
    savings: [`${NOT_FINISHED},${NOT_HOST_NETWORK}`, NOT_FINISHED],
  },
};
