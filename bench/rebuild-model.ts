/**
 * The commands of an agent that knows only whole states, as they are in wide use: on every node it keeps chains and sets for each
 * policy of the cluster, and any change writes all of it anew: every set beside the live one, swapped in; then every chain of the
 * table in one restore. What else such an agent does (listing, evaluating) is not counted.
 */
import type { ClusterSnapshot, Peer, Pod, Policy } from '../src/policy/model.ts';
import type { PlanLine, Step } from '../src/dataplane/iptables/plan/plan.ts';
import { formatNetMember, halvesOf } from '../src/net/cidr.ts';
import { matches } from '../src/policy/selector.ts';
import { LOCAL_NODE } from './cluster-model.ts';

interface ModelSet {
  readonly name: string;
  readonly type: 'hash:ip' | 'hash:net';
  readonly members: readonly string[];
}

interface ModelState {
  readonly sets: readonly ModelSet[];
  readonly chains: ReadonlyMap<string, readonly string[]>;
}

const MARK = '0x10000/0x10000';
const ROOT = 'MODEL';
const JUMP = [`-D FORWARD -j ${ROOT}`, `-I FORWARD 1 -j ${ROOT}`];

/** Steps that make the state the first time, and steps that make all of it anew. */
export function rebuildModel(cluster: ClusterSnapshot): {
  readonly first: readonly Step[];
  readonly again: readonly Step[];
} {
  const state = modelState(cluster);
  const aside = (name: string): string => `${name}+`;
  const made = state.sets.flatMap((set) => fill(set, set.name));
  const remade = state.sets.flatMap((set) => [
    ...fill(set, aside(set.name)),
    `swap ${set.name} ${aside(set.name)}`,
    `destroy ${aside(set.name)}`,
  ]);
  return {
    first: [{ kind: 'add-members', lines: linesOf(made) }, rulesStep(state, JUMP.slice(1))],
    again: [{ kind: 'add-members', lines: linesOf(remade) }, rulesStep(state, JUMP)],
  };
}

function fill({ type, members }: ModelSet, name: string): string[] {
  return [
    `create ${name} ${type} family inet hashsize ${Math.max(64, members.length)} maxelem 65536`,
    ...members.map((member) => `add ${name} ${member}`),
  ];
}

function rulesStep({ chains }: ModelState, jump: readonly string[]): Step {
  const text = [
    '*mangle',
    ...[...chains.keys()].map((name) => `:${name} - [0:0]`),
    ...[...chains].flatMap(([name, rules]) => rules.map((rule) => `-A ${name} ${rule}`)),
    ...jump,
    'COMMIT',
  ];
  return { kind: 'rules', family: 4, lines: linesOf(text) };
}

function linesOf(texts: readonly string[]): PlanLine[] {
  return texts.map((text) => ({ text, object: ROOT }));
}

function modelState(cluster: ClusterSnapshot): ModelState {
  const byNamespace = Map.groupBy(cluster.pods.values(), ({ namespace }) => namespace);
  const sets: ModelSet[] = [];
  const chains = new Map<string, string[]>([[ROOT, []]]);
  const policiesOf = new Map<Pod, string[]>();
  for (const [index, policy] of [...cluster.policies.values()].entries()) {
    const chain = `MODEL-N${index}`;
    const subjects = (byNamespace.get(policy.namespace) ?? []).filter((pod) => matches(policy.podSelector, pod.labels));
    sets.push({ name: `${chain}-t`, type: 'hash:ip', members: subjects.flatMap(({ addresses }) => addresses) });
    chains.set(chain, policyRules(cluster, byNamespace, policy, chain, sets));
    for (const pod of subjects)
      if (pod.nodeName === LOCAL_NODE) policiesOf.set(pod, [...(policiesOf.get(pod) ?? []), chain]);
  }
  for (const [number, [pod, policies]] of [...policiesOf].entries()) {
    const chain = `MODEL-P${number}`;
    chains.set(chain, [
      '-m conntrack --ctstate INVALID -j DROP',
      '-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN',
      ...policies.map((policy) => `-j ${policy}`),
      `-m mark ! --mark ${MARK} -j DROP`,
      '-j MARK --set-xmark 0x0/0x10000',
    ]);
    for (const address of pod.addresses)
      chains.get(ROOT)!.push(`-d ${address}/32 -j ${chain}`, `-s ${address}/32 -j ${chain}`);
  }
  return { sets, chains };
}

/** Per rule one set of peers; per port a rule that marks and one that goes back. */
function policyRules(
  cluster: ClusterSnapshot,
  byNamespace: ReadonlyMap<string, readonly Pod[]>,
  policy: Policy,
  chain: string,
  sets: ModelSet[],
): string[] {
  const rules: string[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    for (const [index, rule] of policy[direction].entries()) {
      const [own, far] = direction === 'ingress' ? ['dst', 'src'] : ['src', 'dst'];
      const match = [`-m set --match-set ${chain}-t ${own}`];
      if (rule.peers !== 'any') {
        const set = peerSet(
          cluster,
          byNamespace,
          policy,
          rule.peers,
          `${chain}-${direction === 'ingress' ? 'i' : 'e'}${index}`,
        );
        sets.push(set);
        match.push(`-m set --match-set ${set.name} ${far}`);
      }
      for (const ports of portMatches(rule.ports)) {
        rules.push([...ports, ...match, `-j MARK --set-xmark ${MARK}`].join(' '));
        rules.push([...ports, ...match, `-m mark --mark ${MARK} -j RETURN`].join(' '));
      }
    }
  }
  return rules;
}

function portMatches(ports: Policy['ingress'][number]['ports']): string[][] {
  if (ports === 'any') return [[]];
  // A name as some number: what it costs is the same.
  return ports.map((port) => [
    `-p ${port.protocol.toLowerCase()} --dport ${port.kind === 'range' ? `${port.first}:${port.last}` : '8080'}`,
  ]);
}

function peerSet(
  { namespaces }: ClusterSnapshot,
  byNamespace: ReadonlyMap<string, readonly Pod[]>,
  policy: Policy,
  peers: readonly Peer[],
  name: string,
): ModelSet {
  const members = new Set<string>();
  let type: ModelSet['type'] = 'hash:ip';
  for (const peer of peers) {
    if (peer.kind === 'ip-block') {
      type = 'hash:net';
      for (const half of halvesOf(peer.cidr) ?? [peer.cidr]) members.add(formatNetMember(half));
      for (const except of peer.except) members.add(`${formatNetMember(except)} nomatch`);
    }
    if (peer.kind !== 'pods') continue;
    const { namespaces: wanted } = peer;
    const names =
      wanted === 'own'
        ? [policy.namespace]
        : [...namespaces.values()].filter(({ labels }) => matches(wanted, labels)).map(({ name: each }) => each);
    for (const pod of names.flatMap((each) => byNamespace.get(each) ?? [])) {
      if (matches(peer.pods, pod.labels)) for (const address of pod.addresses) members.add(address);
    }
  }
  return { name, type, members: [...members] };
}
