/** Objects off the wire -> what the agent knows of them, through the same projections as a watch. */
import {
  type ObjectRecord,
  type Project,
  projectNamespace,
  projectNode,
  projectPod,
  projectPolicy,
} from '../../src/cluster/project.ts';
import { Interner } from '../../src/cluster/interner.ts';
import type { ClusterSnapshot, Problem } from '../../src/policy/model.ts';
import type { HostileObjects } from './hostile.ts';

export function snapshotOfObjects({ pods, namespaces, policies, nodes }: HostileObjects): ClusterSnapshot {
  const interner = new Interner();
  const problems: Problem[] = [];
  const project = <T extends ObjectRecord>(how: Project<T>, objects: readonly unknown[]): Map<string, T> => {
    const records = new Map<string, T>();
    for (const object of objects) {
      const projection = how(object, interner);
      problems.push(...projection.problems);
      if (projection.kind === 'record') records.set(projection.key, projection.record);
    }
    return records;
  };
  return {
    pods: project(projectPod, pods),
    namespaces: project(projectNamespace, namespaces),
    policies: project(projectPolicy, policies),
    nodes: project(projectNode, nodes),
    problems,
  };
}
