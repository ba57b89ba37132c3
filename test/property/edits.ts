/** Histories of clusters: one object after the other comes, changes and goes. */
import fc from 'fast-check';
import type { NodeCompiler } from '../../src/compile/compile-node.ts';
import {
  type ClusterPolicy,
  type ClusterSnapshot,
  type LabelledNode,
  type Namespace,
  type NodeRecord,
  objectKey,
  type Pod,
  type Policy,
} from '../../src/policy/model.ts';
import {
  auditedCluster,
  type ClusterParts,
  cluster,
  clusterParts,
  contestedCluster,
  crowdedPair,
  partsOf,
  severallyAudited,
  snapshotOf,
  tieredParts,
} from './clusters.ts';

export type Edit =
  | { readonly kind: 'pod'; readonly key: string; readonly value: Pod | undefined }
  | { readonly kind: 'namespace'; readonly key: string; readonly value: Namespace | undefined }
  | { readonly kind: 'policy'; readonly key: string; readonly value: Policy | undefined }
  | { readonly kind: 'node'; readonly key: string; readonly value: NodeRecord | undefined }
  | { readonly kind: 'cluster-policy'; readonly key: string; readonly value: ClusterPolicy | undefined }
  | { readonly kind: 'labelled-node'; readonly key: string; readonly value: LabelledNode | undefined };

/** Objects of several clusters put one over the other, one at a time, some of them taken away in between. */
const editsOf = (clusters: fc.Arbitrary<readonly ClusterParts[]>): fc.Arbitrary<readonly Edit[]> =>
  fc.tuple(clusters, fc.infiniteStream(fc.integer({ min: 0, max: 9 }))).map(([clusters, dice]) => {
    const next = (): number => dice.next().value as number;
    return clusters.flatMap((parts) => {
      const { nodes } = snapshotOf(parts);
      const puts: Edit[] = [
        ...parts.pods.map((value): Edit => ({ kind: 'pod', key: objectKey(value), value })),
        ...parts.namespaces.map((value): Edit => ({ kind: 'namespace', key: value.name, value })),
        ...parts.policies.map((value): Edit => ({ kind: 'policy', key: objectKey(value), value })),
        ...(parts.clusterPolicies ?? []).map((value): Edit => ({ kind: 'cluster-policy', key: value.name, value })),
        ...(parts.labelledNodes ?? []).map((value): Edit => ({ kind: 'labelled-node', key: value.name, value })),
        ...[...nodes].map(([key, value]): Edit => ({ kind: 'node', key, value })),
      ];
      return puts
        .map((edit) => (next() < 2 ? { ...edit, value: undefined } : edit))
        .map((edit) => ({ edit, rank: next() }))
        .sort((one, other) => one.rank - other.rank)
        .map(({ edit }) => edit);
    });
  });

export const edits = editsOf(
  fc.array(fc.oneof({ weight: 3, arbitrary: clusterParts }, { weight: 2, arbitrary: tieredParts }), {
    minLength: 1,
    maxLength: 4,
  }),
);
/** Of a crowd, and then of the pods and policies it becomes another one by. */
export const crowdedEdits = editsOf(crowdedPair.map((pair) => pair.map(partsOf)));

/** Of clusters some of whose policies are audited, and of whose pods some show the same addresses. */
export const auditedEdits = editsOf(
  fc.array(fc.oneof(cluster, auditedCluster, severallyAudited, contestedCluster).map(partsOf), {
    minLength: 2,
    maxLength: 4,
  }),
);

/** Returns whether the intent may have changed. */
export function tell(compiler: NodeCompiler, edit: Edit): boolean {
  switch (edit.kind) {
    case 'pod':
      return compiler.pod(edit.key, edit.value);
    case 'namespace':
      return compiler.namespace(edit.key, edit.value);
    case 'policy':
      return compiler.policy(edit.key, edit.value);
    case 'node':
      return compiler.node(edit.key, edit.value);
    case 'cluster-policy':
      return compiler.clusterPolicy(edit.key, edit.value);
    case 'labelled-node':
      return compiler.labelledNode(edit.key, edit.value);
  }
}

export function edited(snapshot: ClusterSnapshot, edit: Edit): ClusterSnapshot {
  const put = <T>(map: ReadonlyMap<string, T>, value: T | undefined): ReadonlyMap<string, T> => {
    const copy = new Map(map);
    if (value === undefined) copy.delete(edit.key);
    else copy.set(edit.key, value);
    return copy;
  };
  switch (edit.kind) {
    case 'pod':
      return { ...snapshot, pods: put(snapshot.pods, edit.value) };
    case 'namespace':
      return { ...snapshot, namespaces: put(snapshot.namespaces, edit.value) };
    case 'policy':
      return { ...snapshot, policies: put(snapshot.policies, edit.value) };
    case 'node':
      return { ...snapshot, nodes: put(snapshot.nodes, edit.value) };
    case 'cluster-policy':
      return { ...snapshot, clusterPolicies: put(snapshot.clusterPolicies ?? new Map(), edit.value) };
    case 'labelled-node':
      return { ...snapshot, labelledNodes: put(snapshot.labelledNodes ?? new Map(), edit.value) };
  }
}

export const NOTHING: ClusterSnapshot = {
  pods: new Map(),
  namespaces: new Map(),
  policies: new Map(),
  nodes: new Map(),
  problems: [],
};
