import type { ObjectKind } from './watch-cluster.ts';

/** How a kind is reached and what RBAC calls it. */
export interface Resource {
  readonly kind: ObjectKind;
  /** '' is the core group. */
  readonly apiGroup: string;
  readonly path: string;
  readonly namespaced: boolean;
}

export const RESOURCES: Readonly<Record<ObjectKind, Resource>> = {
  namespaces: { kind: 'namespaces', apiGroup: '', path: '/api/v1/namespaces', namespaced: false },
  nodes: { kind: 'nodes', apiGroup: '', path: '/api/v1/nodes', namespaced: false },
  networkpolicies: {
    kind: 'networkpolicies',
    apiGroup: 'networking.k8s.io',
    path: '/apis/networking.k8s.io/v1/networkpolicies',
    namespaced: true,
  },
  pods: { kind: 'pods', apiGroup: '', path: '/api/v1/pods', namespaced: true },
};
