/** A ClusterModel -> the records the agent keeps of it, projected as the cluster watch does. */
import type { ClusterSnapshot, Namespace, NodeRecord, Pod, Policy } from '../src/policy/model.ts';
import {
  type ObjectRecord,
  type Project,
  projectNamespace,
  projectNode,
  projectPod,
  projectPolicy,
} from '../src/cluster/project.ts';
import { Interner } from '../src/cluster/interner.ts';
import { type ClusterModel, podObject, type RawObject } from './cluster-model.ts';

/** Pods come and go after this, so the maps and what pods share stay at hand. */
export interface LoadedCluster {
  readonly snapshot: ClusterSnapshot;
  readonly project: (pod: RawObject) => Pod;
}

export function loadModel(model: ClusterModel): LoadedCluster {
  const pods = new Map<string, Pod>();
  const interner = new Interner(pods);
  for (const pod of model.pods) add(pods, projectPod, podObject(pod), interner);
  const namespaces = new Map<string, Namespace>();
  for (const object of model.namespaces) add(namespaces, projectNamespace, object, interner);
  const policies = new Map<string, Policy>();
  for (const object of model.policies) add(policies, projectPolicy, object, interner);
  const nodes = new Map<string, NodeRecord>();
  add(nodes, projectNode, model.node, interner);
  return {
    snapshot: { pods, namespaces, policies, nodes, problems: [] },
    project: (pod) => recordOf(projectPod, pod, interner).record,
  };
}

function add<T extends ObjectRecord>(
  to: Map<string, T>,
  project: Project<T>,
  object: RawObject,
  interner: Interner,
): void {
  const { key, record } = recordOf(project, object, interner);
  to.set(key, record);
}

function recordOf<T>(project: Project<T>, object: RawObject, interner: Interner): { key: string; record: T } {
  const projection = project(object, interner);
  if (projection.kind === 'record') return projection;
  throw new Error(`${object.metadata.name}: ${projection.problems.map(({ message }) => message).join('; ')}`);
}
