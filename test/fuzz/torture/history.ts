/**
 * What a cluster was from a moment on. Agents watch each kind of object by itself, so at any time they may know any version of
 * each kind; and the two ends of a flow may be on nodes that know different ones. What holds for all of them must hold always.
 */
import type { Lab } from '../../../lab/lab.ts';
import type { ClusterPolicy, ClusterSnapshot, Flow } from '../../../src/policy/model.ts';
import { createEvaluator, letsPass } from '../../../src/policy/evaluate.ts';

const RESOURCES: ReadonlySet<string> = new Set([
  'pods',
  'namespaces',
  'networkpolicies',
  'clusternetworkpolicies',
  'nodes',
]);
/** More combinations than this are too many to say anything. */
const MAX_COMBINATIONS = 2000;

export class History {
  readonly #lab: Lab;
  readonly #versions = {
    pods: [] as ClusterSnapshot['pods'][],
    namespaces: [] as ClusterSnapshot['namespaces'][],
    policies: [] as ClusterSnapshot['policies'][],
    clusterPolicies: [] as NonNullable<ClusterSnapshot['clusterPolicies']>[],
    labelledNodes: [] as NonNullable<ClusterSnapshot['labelledNodes']>[],
  };
  readonly #stop: () => void;

  /** Begins with the present. */
  constructor(lab: Lab) {
    this.#lab = lab;
    this.#record();
    this.#stop = lab.store.storage.subscribe((resource) => {
      if (RESOURCES.has(resource)) this.#record();
    });
  }

  stop(): void {
    this.#stop();
  }

  #record(): void {
    const snapshot = this.#lab.snapshot();
    const add = <T extends ReadonlyMap<string, unknown>>(versions: T[], version: T): void => {
      if (textOf(versions.at(-1)) !== textOf(version)) versions.push(version);
    };
    add(this.#versions.pods, snapshot.pods);
    add(this.#versions.namespaces, snapshot.namespaces);
    add(this.#versions.policies, snapshot.policies);
    const { clusterPolicies = new Map<string, ClusterPolicy>(), labelledNodes = new Map() } = snapshot;
    add(this.#versions.clusterPolicies, clusterPolicies);
    // Nodes are watched while a rule asks for them: who has just begun to knows of none (N-44).
    if (![...clusterPolicies.values()].some(asksForNodes)) add(this.#versions.labelledNodes, new Map());
    else add(this.#versions.labelledNodes, labelledNodes);
  }

  /** Pods that were there all the time, as one and the same object that ran and had its addresses. */
  isUntouched(pod: string): boolean {
    const seen = this.#versions.pods.map((pods) => pods.get(pod));
    const first = seen[0];
    return seen.every(
      (each) =>
        each !== undefined &&
        each.uid === first!.uid &&
        each.phase === 'Running' &&
        !each.terminating &&
        each.addresses.join() === first!.addresses.join(),
    );
  }

  /** For each flow, what every combination of what agents knew says of it; `changes` if they differ or are too many. */
  always(flows: readonly Flow[]): readonly ('open' | 'closed' | 'changes')[] {
    const { pods, namespaces, policies, clusterPolicies, labelledNodes } = this.#versions;
    const count = pods.length * namespaces.length * policies.length * clusterPolicies.length * labelledNodes.length;
    if (count > MAX_COMBINATIONS) return flows.map(() => 'changes');
    const tiers = clusterPolicies.flatMap((each) =>
      labelledNodes.map((nodes) => ({ clusterPolicies: each, labelledNodes: nodes })),
    );
    const nodes = this.#lab.snapshot().nodes;
    const sides = flows.map(() => ({ egress: { open: true, closed: true }, ingress: { open: true, closed: true } }));
    for (const p of pods) {
      for (const n of namespaces) {
        for (const q of policies) {
          for (const t of tiers) {
            const evaluator = createEvaluator({ pods: p, namespaces: n, policies: q, ...t, nodes, problems: [] });
            for (const [index, flow] of flows.entries()) {
              const verdict = evaluator.evaluate(flow);
              for (const side of ['egress', 'ingress'] as const) {
                if (letsPass(verdict[side])) sides[index]![side].closed = false;
                else sides[index]![side].open = false;
              }
            }
          }
        }
      }
    }
    return sides.map(({ egress, ingress }) =>
      egress.open && ingress.open ? 'open' : egress.closed || ingress.closed ? 'closed' : 'changes',
    );
  }
}

function asksForNodes({ egress }: ClusterPolicy): boolean {
  return egress.some(({ peers }) => peers !== 'any' && peers.some(({ kind }) => kind === 'nodes'));
}

function textOf(version: ReadonlyMap<string, unknown> | undefined): string | undefined {
  return version && JSON.stringify([...version]);
}
