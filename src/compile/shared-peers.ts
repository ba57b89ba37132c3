/**
 * Rules that always apply together need not be asked one after another: together they let in the union of their peers, and one set can
 * hold it. Each set that is asked costs the first packet of a flow 110 to 160 ns, whatever it holds. Where a class has too many:
 *
 *   1. same pods in the same words, same ports      one set of peers
 *   2. policies that occur together, same ports     one set of peers
 *
 * Equal selectors select the same pods, now and later, so what step 1 puts together depends on policies alone: pods that come and go
 * change no rule. Other policies occur together as long as no local pod is selected by only some of them; the first such pod parts them,
 * and classes it is not in get other sets and are written anew. Step 1 keeps that rare: what it has put together is one in step 2,
 * which so takes more than MAX_OWN_SETS different selectors that select the same local pods.
 *
 * A rule is in one group at most, the same in every class its policy is in, so no two sets of the node hold one rule's peers.
 */
import type { Direction, Peer, Policy } from '../policy/model.ts';

import { selectorKey } from '../policy/selector.ts';

import { splitPorts } from './ports.ts';

/**
 * Up to this many rules keep a set each: such sets are shared with other pods whose policies name the same peers, show in the rules'
 * counters who was let in by which, and are not filled anew when another of the policies changes.
 */
export const MAX_OWN_SETS = 4;

/** The ports of one clause; equal ports, equal text. */
export type NumericPorts = Exclude<ReturnType<typeof splitPorts>, 'any'>['numeric'][number] | 'any';

export type Peers = readonly Peer[] | 'any';

export interface Allowed {
  readonly ports: NumericPorts;
  readonly peers: Peers;
}

/** What a rule and those it is put together with allow; undefined: it is alone. `place`: of its policy in the class. */
export type SharedBy = (place: number, index: number, ports: NumericPorts) => Allowed | undefined;

/** One rule's ports of one protocol, or several of these put together. */
interface Group extends Allowed {
  /** Of one of its policies. */
  readonly selector: string;
  readonly together: number;
  readonly rules: readonly string[];
}

/** `policies` are of one namespace; equal numbers in `together` are policies that occur together (see Occurrences). */
export function shareSets(
  policies: readonly Policy[],
  direction: Direction,
  together: readonly number[],
  maxOwnSets = MAX_OWN_SETS,
): SharedBy {
  const alone = policies.flatMap((policy, place) =>
    policy[direction].flatMap(({ ports, peers }, index): Group[] =>
      numericPorts(ports).map((each) => ({
        ports: each,
        peers,
        selector: selectorKey(policy.podSelector),
        together: together[place]!,
        rules: [ruleKey(place, index, each)],
      })),
    ),
  );
  const samePods = joinMany(alone, maxOwnSets, ({ selector, ports }) => JSON.stringify([selector, ports]));
  const groups = joinMany(samePods, maxOwnSets, (group) => JSON.stringify([group.together, group.ports]));
  const shared = new Map<string, Allowed>();
  for (const group of groups) if (group.rules.length > 1) for (const rule of group.rules) shared.set(rule, group);
  return (place, index, ports) => (shared.size === 0 ? undefined : shared.get(ruleKey(place, index, ports)));
}

function numericPorts(ports: Parameters<typeof splitPorts>[0]): readonly NumericPorts[] {
  const split = splitPorts(ports);
  return split === 'any' ? [split] : split.numeric;
}

function ruleKey(place: number, index: number, ports: NumericPorts): string {
  return `${place} ${index} ${ports === 'any' ? ports : ports.protocol}`;
}

/** Groups of one key become one where there are more than `most` of them. */
function joinMany(groups: readonly Group[], most: number, keyOf: (group: Group) => string): readonly Group[] {
  if (groups.length <= most) return groups;
  return [...Map.groupBy(groups, keyOf).values()].flatMap((alike) => (alike.length > most ? [joined(alike)] : alike));
}

function joined(groups: readonly Group[]): Group {
  return { ...groups[0]!, peers: unionOf(groups), rules: groups.flatMap(({ rules }) => rules) };
}

function unionOf(groups: readonly Group[]): Peers {
  const peers: Peer[] = [];
  for (const each of groups) {
    if (each.peers === 'any') return 'any';
    peers.push(...each.peers);
  }
  return peers;
}
