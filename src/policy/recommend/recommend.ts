/**
 * Policies that let pass what was seen and as little else as can be said in labels, blocks and ports. They are added to those that are there:
 *
 *   observed flows -> what no policy lets pass yet, by group and direction -> rules -> policies -> replayed, all flows, by the evaluator
 *
 * A policy under which an observed flow would be denied is withheld. Cluster-wide policies stay in force: what tier Admin decides needs no rule
 * and gets none, and what tier Baseline decides is the recommended policy's once that isolates the pod (N-65).
 */
import type { Direction } from '../../core/vocabulary.ts';
import type { ClusterSnapshot, DirectionVerdict, Pod, Policy } from '../model.ts';
import type { BlockLimits } from './blocks.ts';
import type { Need, NeededPeer, NeededPort, Written } from './draft.ts';
import type { PodGroup } from './groups.ts';

import { PROTOCOL_NUMBER, PROTOCOLS } from '../../core/vocabulary.ts';
import { addressOwners, isContested } from '../address-owners.ts';
import { type AddressOwners, type Connection, connectionOf } from '../connection.ts';
import { judgeDirection, letsPass } from '../evaluate.ts';
import { objectKey } from '../model.ts';
import { parsePolicy } from '../parse.ts';
import { coverage, draftRules, selector } from './draft.ts';
import { PodGroups } from './groups.ts';
import { distinctFlows, type Evidence, evidenceOf, type ObservedFlow } from './observed.ts';
import { PolicyWorlds } from './worlds.ts';
import { type RuleUse, ruleUses } from './rule-use.ts';

export interface RecommendOptions {
  /** `deployment/web`: unique in the pod's namespace. */
  readonly groupOf: (pod: Pod) => string;
  /** Whether policies are to be written for the pods of a namespace. */
  readonly isFor: (namespace: string) => boolean;
  readonly directions: readonly Direction[];
  readonly limits: BlockLimits;
  /** As if there were no policy yet. */
  readonly fromScratch: boolean;
}

export interface RecommendedRule {
  readonly direction: Direction;
  /** In `spec.ingress` or `spec.egress`. */
  readonly index: number;
  readonly evidence: Evidence;
  readonly notes: readonly string[];
}

export interface RecommendedPolicy {
  readonly manifest: Written;
  readonly group: PodGroup;
  readonly rules: readonly RecommendedRule[];
  readonly notes: readonly string[];
}

/** A direction of a flow that is denied. */
export interface DeniedFlow {
  readonly seen: ObservedFlow;
  readonly direction: Direction;
  readonly verdict: DirectionVerdict;
}

export interface Recommendation {
  readonly policies: readonly RecommendedPolicy[];
  /** Not to be applied: each would deny what was seen. */
  readonly withheld: readonly { readonly policy: RecommendedPolicy; readonly denied: DeniedFlow }[];
  /** What policies that are there deny, or would if they were not only audited, cluster-wide ones among them, and no recommendation lets through. */
  readonly denied: readonly DeniedFlow[];
  /** Groups for which nothing can be written, and why. */
  readonly unwritten: readonly { readonly group: string; readonly why: string }[];
  /** Of the policies that are there. */
  readonly uses: readonly RuleUse[];
  /** Distinct ones, all of which were replayed. */
  readonly flows: number;
}

export function recommend(
  snapshot: ClusterSnapshot,
  observed: readonly ObservedFlow[],
  options: RecommendOptions,
): Recommendation {
  const seen = distinctFlows(observed);
  const owners = addressOwners(snapshot.pods.values());
  const existing = options.fromScratch ? new Map<string, Policy>() : snapshot.policies;
  const drafts = new Drafts(snapshot, owners, new PolicyWorlds(snapshot, existing), options);
  for (const each of seen) drafts.add(each);
  const { policies, unwritten } = drafts.written(existing);
  const replay = replayed(snapshot, owners, existing, policies, seen, options.directions);
  const uses = ruleUses(snapshot, owners, seen, options.isFor);
  return { ...replay, unwritten, uses, flows: seen.length };
}

// --------------------------------------------------------------------------------------------------------------- needs

interface Draft {
  readonly group: PodGroup;
  readonly needs: Record<Direction, Need[]>;
}

/** No NetworkPolicy is asked (N-62). */
function isFinal(verdict: DirectionVerdict): boolean {
  return verdict.kind === 'tier-rule' && verdict.by.policy.tier === 'Admin';
}

class Drafts {
  readonly #owners: AddressOwners;
  readonly #worlds: PolicyWorlds;
  readonly #options: RecommendOptions;
  readonly #groups: PodGroups;
  readonly #namespaces: ClusterSnapshot['namespaces'];
  readonly #drafts = new Map<PodGroup, Draft>();

  constructor(
    { namespaces }: ClusterSnapshot,
    owners: ReadonlyMap<string, Pod>,
    worlds: PolicyWorlds,
    options: RecommendOptions,
  ) {
    this.#owners = owners;
    this.#worlds = worlds;
    this.#options = options;
    this.#namespaces = namespaces;
    const alone = [...new Set(owners.values())].filter((pod) => !isContested(pod));
    this.#groups = new PodGroups(alone, options.groupOf);
  }

  add(seen: ObservedFlow): void {
    const connection = connectionOf(this.#owners, seen.flow);
    for (const direction of this.#options.directions) {
      const subject = direction === 'egress' ? connection.sourcePod : connection.destinationPod;
      const group = subject && this.#groups.of(subject);
      if (!group || !this.#options.isFor(group.namespace)) continue;
      const verdict = judgeDirection(this.#worlds.of(group.namespace), direction, connection);
      if (verdict.kind === 'exempt') continue;
      const draft = this.#draftOf(group);
      if (verdict.kind === 'allowed' || isFinal(verdict)) continue;
      const peer = this.#peerOf(direction, connection);
      draft.needs[direction].push({ peer, port: this.#portOf(connection), seen });
    }
  }

  #draftOf(group: PodGroup): Draft {
    const draft = this.#drafts.get(group) ?? { group, needs: { ingress: [], egress: [] } };
    this.#drafts.set(group, draft);
    return draft;
  }

  #peerOf(direction: Direction, { flow, sourcePod, destinationPod }: Connection): NeededPeer {
    const other = direction === 'egress' ? destinationPod : sourcePod;
    const group = other && this.#namespaces.has(other.namespace) ? this.#groups.of(other) : undefined;
    const address = direction === 'egress' ? flow.destination : flow.source;
    return group ? { kind: 'pods', group } : { kind: 'address', address };
  }

  /** By its name where the pods of the destination have several numbers for it, else by number. */
  #portOf({ flow, destinationPod }: Connection): NeededPort {
    const protocol = PROTOCOLS.find((each) => PROTOCOL_NUMBER[each] === flow.protocol);
    if (!protocol) return 'any';
    const isSame = (port: Pod['namedPorts'][number]): boolean => port.protocol === protocol && port.port === flow.port;
    const name = destinationPod?.namedPorts.find(isSame)?.name;
    const group = destinationPod && this.#groups.of(destinationPod);
    if (name === undefined || !group) return { protocol, port: flow.port };
    const declared = group.pods.flatMap(({ namedPorts }) => namedPorts).filter((each) => each.name === name);
    const numbers = new Set(declared.flatMap((each) => (each.protocol === protocol ? [each.port] : [])));
    return { protocol, port: numbers.size > 1 ? name : flow.port };
  }

  written(existing: ReadonlyMap<string, Policy>): Pick<Recommendation, 'policies' | 'unwritten'> {
    const taken = new Set(existing.keys());
    const policies: RecommendedPolicy[] = [];
    const unwritten: { group: string; why: string }[] = [];
    for (const draft of this.#sorted()) {
      const { group } = draft;
      const directions = this.#options.directions.filter((direction) => this.#isToBeWritten(draft, direction));
      if (directions.length === 0) continue;
      if (Object.keys(group.labels).length === 0 && group.alsoSelects.length > 0)
        unwritten.push({
          group: `${group.namespace}/${group.name}`,
          why: 'its pods have no label in common that lasts',
        });
      else policies.push(policyFor(draft, directions, this.#options.limits, taken));
    }
    return { policies, unwritten };
  }

  #sorted(): readonly Draft[] {
    const key = ({ group }: Draft): string => `${group.namespace}/${group.name}`;
    return [...this.#drafts.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  }

  /** Something must pass, or nothing keeps out what was not seen. */
  #isToBeWritten({ group, needs }: Draft, direction: Direction): boolean {
    return needs[direction].length > 0 || group.pods.some((pod) => !this.#worlds.isolates(direction, pod));
  }
}

// ------------------------------------------------------------------------------------------------------------ policies

const TYPES = { ingress: 'Ingress', egress: 'Egress' } as const satisfies Record<Direction, string>;

function policyFor(
  { group, needs }: Draft,
  directions: readonly Direction[],
  limits: BlockLimits,
  taken: Set<string>,
): RecommendedPolicy {
  const { namespace } = group;
  const drafted = directions.map((direction) => ({
    direction,
    rules: draftRules(needs[direction], direction, namespace, limits),
  }));
  const manifest = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name: freeName(group, taken) },
    spec: {
      podSelector: selector(group.labels),
      policyTypes: directions.map((direction) => TYPES[direction]),
      ...Object.fromEntries(drafted.map(({ direction, rules }) => [direction, rules.map(({ written }) => written)])),
    },
  };
  const rules = drafted.flatMap(({ direction, rules: own }) =>
    own.map(({ seen, notes }, index) => ({ direction, index, evidence: evidenceOf(seen), notes })),
  );
  return { manifest, group, rules, notes: coverage(group) };
}

/** S-47: a DNS subdomain, short enough for a number behind it. */
function freeName({ namespace, name }: PodGroup, taken: Set<string>): string {
  // Of labels the values.
  const own = name
    .slice(name.indexOf('/') + 1)
    .replaceAll(/[^,=]+=/g, '')
    .toLowerCase();
  const plain = own.replaceAll(/[^a-z0-9.-]+/g, '-').replaceAll(/^[.-]+|[.-]+$/g, '');
  const wanted = `allow-${plain || 'pods'}`.slice(0, 240);
  let free = wanted;
  for (let count = 2; taken.has(`${namespace}/${free}`); count++) free = `${wanted}-${count}`;
  taken.add(`${namespace}/${free}`);
  return free;
}

// -------------------------------------------------------------------------------------------------------------- replay

/** What is withheld takes away what it would have allowed: the rest is replayed anew, until nothing more is. */
function replayed(
  snapshot: ClusterSnapshot,
  owners: AddressOwners,
  existing: ReadonlyMap<string, Policy>,
  drafted: readonly RecommendedPolicy[],
  seen: readonly ObservedFlow[],
  directions: readonly Direction[],
): Pick<Recommendation, 'policies' | 'withheld' | 'denied'> {
  const policies = new Map(drafted.map((each) => [keyOf(each.manifest), each]));
  const withheld: { policy: RecommendedPolicy; denied: DeniedFlow }[] = [];
  for (;;) {
    const all = new Map([...existing, ...[...policies].map(([key, each]) => [key, parsed(each.manifest)] as const)]);
    const denied = deniedIn(new PolicyWorlds(snapshot, all), owners, seen, directions);
    const before = policies.size;
    for (const each of denied) {
      for (const key of isolatingKeys(each)) {
        const policy = policies.get(key);
        if (policy && policies.delete(key)) withheld.push({ policy, denied: each });
      }
    }
    if (policies.size === before) return { policies: [...policies.values()], withheld, denied };
  }
}

function isolatingKeys({ verdict }: DeniedFlow): readonly string[] {
  return verdict.kind === 'denied' ? verdict.isolatedBy.map(objectKey) : [];
}

function deniedIn(
  worlds: PolicyWorlds,
  owners: AddressOwners,
  seen: readonly ObservedFlow[],
  directions: readonly Direction[],
): readonly DeniedFlow[] {
  return seen.flatMap((each) => {
    const connection = connectionOf(owners, each.flow);
    return directions.flatMap((direction): DeniedFlow[] => {
      const subject = direction === 'egress' ? connection.sourcePod : connection.destinationPod;
      if (!subject) return [];
      const verdict = judgeDirection(worlds.of(subject.namespace), direction, connection);
      return letsPass(verdict) ? [] : [{ seen: each, direction, verdict }];
    });
  });
}

function keyOf({ metadata }: Written): string {
  const { namespace, name } = metadata as { readonly namespace: string; readonly name: string };
  return `${namespace}/${name}`;
}

/** As the API server and the agent will read it. */
function parsed(manifest: Written): Policy {
  const { policy, problems } = parsePolicy(manifest);
  if (!policy || problems.length > 0) throw new Error(`recommended policy ${keyOf(manifest)}: ${problems[0]?.message}`);
  return policy;
}
