/**
 * The policies that can concern the pods of one namespace, so that a flow is not judged by those of all. Audited ones count as enforced; cluster-wide ones are
 * in force for all. */
import type { Direction } from '../../core/vocabulary.ts';
import type { ClusterSnapshot, Pod, Policy } from '../model.ts';
import type { PolicyWorld } from '../evaluate.ts';

import { objectKey } from '../model.ts';
import { mayMatch } from '../selector.ts';

export class PolicyWorlds {
  readonly #everywhere: Omit<PolicyWorld, 'policies'>;
  readonly #byNamespace: ReadonlyMap<string, readonly Policy[]>;
  readonly #worlds = new Map<string, PolicyWorld>();

  constructor({ namespaces, clusterPolicies, labelledNodes }: ClusterSnapshot, policies: ReadonlyMap<string, Policy>) {
    this.#everywhere = {
      namespaces,
      enforcesAudited: true,
      ...(clusterPolicies ? { clusterPolicies } : {}),
      ...(labelledNodes ? { labelledNodes } : {}),
    };
    this.#byNamespace = Map.groupBy([...policies.values()].map(parsedOnce), ({ namespace }) => namespace);
  }

  /** Empty: of a pod that cannot be told, which may be in any. */
  of(namespace: string): PolicyWorld {
    const known = this.#worlds.get(namespace);
    if (known) return known;
    const own = namespace === '' ? [...this.#byNamespace.values()].flat() : (this.#byNamespace.get(namespace) ?? []);
    const policies = new Map(own.map((policy) => [objectKey(policy), policy]));
    const world = { ...this.#everywhere, policies };
    this.#worlds.set(namespace, world);
    return world;
  }

  isolates(direction: Direction, { namespace, labels }: Pod): boolean {
    const own = this.#byNamespace.get(namespace) ?? [];
    return own.some(({ isolates, podSelector }) => isolates[direction] && mayMatch(podSelector, labels));
  }
}

/** Rules may be kept as text, and are asked for with each flow. */
function parsedOnce(policy: Policy): Policy {
  const { namespace, name, uid, podSelector, isolates, ingress, egress, mode } = policy;
  return { namespace, name, uid, podSelector, isolates, ingress, egress, ...(mode ? { mode } : {}) };
}
