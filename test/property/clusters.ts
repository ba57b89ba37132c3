/** Arbitrary clusters that are hostile but valid, and the flows at the edges of what they say. */
import fc from 'fast-check';
import type {
  ClusterPolicy,
  ClusterSnapshot,
  Flow,
  LabelledNode,
  Namespace,
  NodeRecord,
  Pod,
  Policy,
  Rule,
  Selector,
} from '../../src/policy/model.ts';
import { PROTOCOL_NUMBER, type PolicyMode } from '../../src/core/vocabulary.ts';
import { UNKNOWN_LABELS, objectKey } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { matches } from '../../src/policy/selector.ts';
import { WIDTH, numberOf, prefixMask } from '../support/address-number.ts';
import { namespace, policy as policyOf } from '../support/builders.ts';

/** Few names, keys, values and addresses: selectors overlap, addresses are used again. */
const NAMESPACES = ['n0', 'n1', 'n2', 'n3'];
const KEYS = ['app', 'tier', 'constructor'];
const VALUES = ['a', 'b', ''];
const PORT_NAMES = ['web', 'dns'];
const PORTS = [1, 53, 80, 81, 8080, 65534, 65535];
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;

export const NODE = 'node-1';
const NODES: readonly NodeRecord[] = [
  { name: 'node-1', addresses: ['172.18.0.2', 'fd00:18::2'] },
  { name: 'node-2', addresses: ['172.18.0.3', 'fd00:18::3'] },
];

/** One in sixteen shares its last four bits with another; the first and last of a block are there too. */
export const POD_ADDRESSES = Array.from({ length: 10 }, (_, index) => ({
  4: `10.0.${index >> 3}.${index === 7 ? 255 : index * 5}`,
  6: `fd00::${index === 0 ? '' : (index * 5).toString(16)}`,
}));

const CIDRS = [
  ...['0.0.0.0/0', '10.0.0.0/8', '10.0.0.0/24', '10.0.0.0/29', '10.0.0.4/30', '10.0.0.5/32', '10.0.1.0/24'],
  ...['203.0.113.0/24', '203.0.113.128/25', '172.18.0.0/16', '128.0.0.0/1'],
  ...[
    '::/0',
    'fd00::/16',
    'fd00::/124',
    'fd00::4/126',
    'fd00::5/128',
    '2001:db8::/32',
    '2001:db8:8000::/33',
    '8000::/1',
  ],
];

const labels = fc.dictionary(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES), { maxKeys: 3 });

const requirement = fc.oneof(
  fc.record({
    key: fc.constantFrom(...KEYS),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom(...VALUES), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({ key: fc.constantFrom(...KEYS), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
);

/** Mostly wide: a selector that matches nothing tells nothing. */
const selector = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  { weight: 3, arbitrary: fc.record({ matchLabels: labels }) },
  { weight: 2, arbitrary: fc.record({ matchExpressions: fc.array(requirement, { minLength: 1, maxLength: 2 }) }) },
);

const ipBlock = fc
  .record({ cidr: fc.constantFrom(...CIDRS), holes: fc.subarray(CIDRS, { maxLength: 3 }) })
  .map(({ cidr, holes }) => ({ cidr, except: holes.filter((hole) => isInside(hole, cidr)) }));

const peer = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: selector }),
  fc.record({ podSelector: selector, namespaceSelector: selector }),
  fc.record({ ipBlock }),
);

const portEntry = fc.oneof(
  fc.record({ protocol: fc.constantFrom(...PROTOCOLS) }),
  fc.record({ protocol: fc.constantFrom(...PROTOCOLS), port: fc.constantFrom(...PORTS, ...PORT_NAMES) }),
  fc
    .tuple(fc.constantFrom(...PROTOCOLS), fc.constantFrom(...PORTS), fc.constantFrom(...PORTS))
    .map(([protocol, a, b]) => ({ protocol, port: Math.min(a, b), endPort: Math.max(a, b) })),
);

const rule = (side: 'from' | 'to') =>
  fc.record(
    { [side]: fc.array(peer, { maxLength: 3 }), ports: fc.array(portEntry, { maxLength: 3 }) },
    { requiredKeys: [] },
  );

const policySpec = fc.record(
  {
    podSelector: selector,
    policyTypes: fc.subarray(['Ingress', 'Egress']),
    ingress: fc.array(rule('from'), { maxLength: 2 }),
    egress: fc.array(rule('to'), { maxLength: 2 }),
  },
  { requiredKeys: ['podSelector', 'policyTypes'] },
);

const mode = fc.constantFrom<PolicyMode | undefined>(undefined, undefined, undefined, 'enforce', 'audit');

const policy = fc
  .tuple(fc.constantFrom(...NAMESPACES.slice(0, 2)), fc.constantFrom('p0', 'p1', 'p2'), policySpec, mode)
  .map(([ns, name, spec, asked]): Policy => policyOf(`${ns}/${name}`, spec, asked));

/** Names may mean several numbers, also within one pod. */
const namedPorts = fc.array(
  fc.record({
    name: fc.constantFrom(...PORT_NAMES),
    protocol: fc.constantFrom(...PROTOCOLS.slice(0, 2)),
    port: fc.constantFrom(...PORTS.slice(1, 4)),
  }),
  { maxLength: 2 },
);

const often = <T>(usual: T, ...others: readonly T[]) =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(usual, ...others) });

/** Now and then more than are kept. */
const labelsOrUnknown = fc.oneof(
  { weight: 24, arbitrary: labels },
  { weight: 1, arbitrary: fc.constant(UNKNOWN_LABELS) },
);

const pod = fc
  .record({
    namespace: fc.constantFrom(...NAMESPACES.slice(0, 3)),
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    node: often<string | undefined>('node-1', 'node-2', undefined),
    plan: fc.constantFrom(...POD_ADDRESSES),
    families: often('both', 'only4', 'only6', 'none'),
    hostNetwork: often(false, true),
    phase: often<Pod['phase']>('Running', 'Pending', 'Succeeded', 'Failed', 'Unknown'),
    terminating: often(false, true),
    createdAtMs: fc.constantFrom(0, 1000),
    since: fc.tuple(fc.nat({ max: 2 }), fc.nat({ max: 2 })),
    labels: labelsOrUnknown,
    namedPorts,
  })
  .map(({ node, plan, families, hostNetwork, since, ...rest }): Pod => {
    const host = NODES.find(({ name }) => name === node)?.addresses ?? [];
    const own = { both: [plan[4], plan[6]], only4: [plan[4]], only6: [plan[6]], none: [] }[families] ?? [];
    const addresses = hostNetwork ? host : own;
    const uid = JSON.stringify([rest.namespace, rest.name, rest.createdAtMs]);
    const addressesSince = since[0] === since[1] ? since[0] : since.slice(0, addresses.length);
    return { ...rest, uid, hostNetwork, addresses, addressesSince, ...(node === undefined ? {} : { nodeName: node }) };
  });

const namespaceRecord = fc
  .tuple(fc.constantFrom(...NAMESPACES), labelsOrUnknown, mode)
  .map(([name, own, asked]): Namespace => {
    const labelled = own === UNKNOWN_LABELS ? { ...namespace(name), labels: own } : namespace(name, own);
    return { ...labelled, ...(asked ? { mode: asked } : {}) };
  });

export interface ClusterParts {
  readonly pods: readonly Pod[];
  readonly namespaces: readonly Namespace[];
  readonly policies: readonly Policy[];
  readonly clusterPolicies?: readonly ClusterPolicy[];
  readonly labelledNodes?: readonly LabelledNode[];
}

export const clusterParts: fc.Arbitrary<ClusterParts> = fc.record({
  pods: fc.array(pod, { minLength: 1, maxLength: 7 }),
  namespaces: fc.array(namespaceRecord, { minLength: 2, maxLength: 4 }),
  policies: fc.array(policy, { minLength: 1, maxLength: 4 }),
});

export function partsOf(snapshot: ClusterSnapshot): ClusterParts {
  const { pods, namespaces, policies, clusterPolicies, labelledNodes } = snapshot;
  return {
    pods: [...pods.values()],
    namespaces: [...namespaces.values()],
    policies: [...policies.values()],
    ...(clusterPolicies ? { clusterPolicies: [...clusterPolicies.values()] } : {}),
    ...(labelledNodes ? { labelledNodes: [...labelledNodes.values()] } : {}),
  };
}

/** In the order given; of two objects of one name the later wins. */
export function snapshotOf({ pods, namespaces, policies, ...more }: ClusterParts): ClusterSnapshot {
  const { clusterPolicies, labelledNodes } = more;
  return {
    pods: new Map(pods.map((each) => [objectKey(each), each])),
    namespaces: new Map(namespaces.map((each) => [each.name, each])),
    policies: new Map(policies.map((each) => [objectKey(each), each])),
    nodes: new Map(NODES.map((each) => [each.name, each])),
    ...(clusterPolicies ? { clusterPolicies: new Map(clusterPolicies.map((each) => [each.name, each])) } : {}),
    ...(labelledNodes ? { labelledNodes: new Map(labelledNodes.map((each) => [each.name, each])) } : {}),
    problems: [],
  };
}

export const cluster: fc.Arbitrary<ClusterSnapshot> = clusterParts.map(snapshotOf);

/** Most pods show one of two addresses, and seldom does anything tell whose it is (S-73). */
export const contestedCluster = contestedFrom(clusterParts);

function contestedFrom(of: fc.Arbitrary<ClusterParts>): fc.Arbitrary<ClusterSnapshot> {
  return fc.tuple(of, fc.array(fc.nat({ max: 5 }), { minLength: 7, maxLength: 7 })).map(([parts, choices]) => {
    const pods = parts.pods.map((each, index) => {
      const plan = POD_ADDRESSES[choices[index]! < 5 ? choices[index]! % 2 : index]!;
      const isPlain = each.hostNetwork || each.addresses.length === 0;
      return isPlain ? each : { ...each, addresses: [plan[4], plan[6]], addressesSince: choices[index]! < 4 ? 1 : 0 };
    });
    return snapshotOf({ ...parts, pods });
  });
}

// --- cluster-wide policies ---

const podPeer = fc.oneof(
  fc.record({ namespaces: selector }),
  fc.record({
    pods: fc.record({ podSelector: selector, namespaceSelector: selector }, { requiredKeys: ['podSelector'] }),
  }),
);

const farPeer = fc.oneof(
  { weight: 12, arbitrary: podPeer },
  { weight: 8, arbitrary: fc.record({ networks: fc.subarray(CIDRS, { minLength: 1, maxLength: 3 }) }) },
  { weight: 4, arbitrary: fc.record({ nodes: selector }) },
);

/** Seldom, as one of them may deny everything: what no version of this agent, or only a later one, understands (N-90, N-91). */
const orOdd = <T>(usual: fc.Arbitrary<T>, ...odd: readonly object[]): fc.Arbitrary<T | object> =>
  fc.oneof({ weight: 60, arbitrary: usual }, { weight: 1, arbitrary: fc.constantFrom(...odd) });

const ODD_SELECTORS = [
  { matchLabels: { app: 7 } },
  { matchExpressions: [{ key: 'app', operator: 'Like', values: ['a'] }] },
  { matchExpressions: [{ key: 'app', operator: 'In', values: [] }] },
  { matchFields: {} },
];
const ODD_PEERS = [
  {},
  { domainNames: ['a.example'] },
  { services: {} },
  { pods: { namespaceSelector: {} } },
  { pods: { podSelector: {}, serviceAccounts: {} } },
  { namespaces: {}, pods: { podSelector: {} } },
  { networks: ['10.0.0.0/33'] },
  ...ODD_SELECTORS.flatMap((odd) => [{ namespaces: odd }, { pods: { podSelector: odd } }]),
];
const ODD_PROTOCOLS = [
  {},
  { icmp: {} },
  { tcp: { destinationPort: {} } },
  { tcp: { destinationPort: { range: { start: 81, end: 80 } } } },
  { tcp: { sourcePort: { number: 80 } } },
  { udp: {}, sctp: {} },
  { destinationNamedPort: '' },
];

const destinationPort = fc.oneof(
  fc.constantFrom(...PORTS).map((number) => ({ number })),
  fc
    .tuple(fc.constantFrom(...PORTS), fc.constantFrom(...PORTS))
    .map(([a, b]) => ({ range: { start: Math.min(a, b), end: Math.max(a, b) } })),
);

const protocolEntry = fc.oneof(
  fc.record({ tcp: fc.record({ destinationPort }) }),
  fc.record({ udp: fc.record({ destinationPort }) }),
  fc.record({ sctp: fc.record({ destinationPort }, { requiredKeys: [] }) }),
  fc.record({ destinationNamedPort: fc.constantFrom(...PORT_NAMES) }),
);

const tierRule = (side: 'from' | 'to') =>
  fc.record(
    {
      action: fc.constantFrom('Accept', 'Deny', 'Pass'),
      [side]: fc.array(orOdd(side === 'to' ? farPeer : podPeer, ...ODD_PEERS), { minLength: 1, maxLength: 3 }),
      protocols: fc.array(orOdd(protocolEntry, ...ODD_PROTOCOLS), { minLength: 1, maxLength: 3 }),
    },
    { requiredKeys: ['action', side] },
  );

const tierRules = (side: 'from' | 'to') =>
  fc.array(orOdd(tierRule(side), ...ODD_RULES.map((odd) => ({ [side]: [{ namespaces: {} }], ...odd }))), {
    maxLength: 4,
  });

const ODD_RULES = [
  { action: 'Log' },
  { action: 'Accept', from: [], to: [] },
  { action: 'Accept', log: true },
  { action: 'Deny', protocols: [] },
];

const tierSpec = fc.record(
  {
    tier: fc.oneof(
      { weight: 60, arbitrary: fc.constantFrom('Admin', 'Admin', 'Baseline') },
      { weight: 1, arbitrary: fc.constant('Tenant') },
    ),
    priority: fc.oneof({ weight: 60, arbitrary: fc.nat({ max: 2 }) }, { weight: 1, arbitrary: fc.constant(1001) }),
    subject: orOdd(podPeer, ...ODD_PEERS),
    ingress: tierRules('from'),
    egress: tierRules('to'),
  },
  { requiredKeys: ['tier', 'priority', 'subject'] },
);

/** As an object of the API, which need not be one that its validation lets pass. */
const clusterPolicyObject = fc
  .tuple(fc.constantFrom('c0', 'c1', 'c2', 'c3'), tierSpec)
  .map(([name, spec]) => ({ metadata: { name }, spec }));

/** Objects, of which the later of one name is in force. */
export const clusterPolicyObjects = fc.array(clusterPolicyObject, { minLength: 1, maxLength: 4 });

const clusterPolicy = clusterPolicyObject.map((object) => parseClusterPolicy(object).policy!);

const labelledNode = fc
  .tuple(fc.constantFrom(...NODES), labels)
  .map(([{ name, addresses }, own]): LabelledNode => ({ name, addresses, labels: own }));

export const tieredParts: fc.Arbitrary<ClusterParts> = fc
  .record({
    parts: clusterParts,
    clusterPolicies: fc.array(clusterPolicy, { minLength: 1, maxLength: 4 }),
    labelledNodes: fc.array(labelledNode, { maxLength: 2 }),
  })
  .map(({ parts, ...tiers }) => ({ ...parts, policies: parts.policies.slice(0, 2), ...tiers }));

export const tieredCluster: fc.Arbitrary<ClusterSnapshot> = tieredParts.map(snapshotOf);
export const contestedTiers = contestedFrom(tieredParts);

/** A cluster and what became of it: objects came, went and changed. */
export const clusterPair = pairOf(clusterParts);
export const tieredPair = fc.oneof(
  pairOf(fc.oneof({ weight: 6, arbitrary: tieredParts }, { weight: 1, arbitrary: clusterParts })),
  tieredEdit(),
);

/** One cluster-wide policy is edited, and nothing else changes. */
function tieredEdit(): fc.Arbitrary<readonly [ClusterSnapshot, ClusterSnapshot]> {
  const choices = fc.record({
    which: fc.nat({ max: 3 }),
    side: fc.constantFrom('ingress', 'egress'),
    what: fc.constantFrom('swap', 'action', 'remove', 'repeat', 'priority', 'tier'),
    at: fc.nat({ max: 3 }),
    to: fc.nat({ max: 3 }),
    action: fc.constantFrom('Accept', 'Deny', 'Pass'),
  });
  return fc.tuple(tieredParts, choices).map(([parts, { which, side, what, at, to, action }]) => {
    const before = snapshotOf(parts);
    const all = [...before.clusterPolicies!.values()];
    const edited = all[which % all.length]!;
    const rules = [...edited[side]];
    const [first, second] = [at % rules.length, to % rules.length];
    const rule = rules[first];
    if (rule && what === 'swap') [rules[first], rules[second]] = [rules[second]!, rule];
    if (rule && what === 'action') rules[first] = { ...rule, action };
    if (rule && what === 'remove') rules.splice(first, 1);
    if (rule && what === 'repeat') rules.splice(second, 0, { ...rule, action });
    const { tier, priority } = edited;
    const head = {
      priority: what === 'priority' ? (priority + 1 + (to % 2)) % 3 : priority,
      tier: what !== 'tier' ? tier : tier === 'Admin' ? 'Baseline' : 'Admin',
    } as const;
    const after: ClusterPolicy = { ...edited, ...head, [side]: rules };
    return [before, { ...before, clusterPolicies: new Map(before.clusterPolicies).set(after.name, after) }] as const;
  });
}

function pairOf(parts: fc.Arbitrary<ClusterParts>): fc.Arbitrary<readonly [ClusterSnapshot, ClusterSnapshot]> {
  return fc
    .tuple(parts, parts, fc.array(fc.nat({ max: 3 }), { minLength: 32, maxLength: 32 }))
    .map(([before, other, choices]) => {
      let at = 0;
      const next = (): number => choices[at++ % choices.length]!;
      const mixed = <T>(ours: readonly T[], theirs: readonly T[]): T[] => [
        ...ours.filter(() => next() > 0),
        ...theirs.filter(() => next() === 0),
      ];
      // What happens most: the same pods, other labels.
      const relabelled = before.pods.map((each, index) =>
        next() === 0 ? { ...each, labels: other.pods[index % other.pods.length]!.labels } : each,
      );
      const tiers =
        (before.clusterPolicies ?? other.clusterPolicies)
          ? {
              clusterPolicies: mixed(before.clusterPolicies ?? [], other.clusterPolicies ?? []),
              labelledNodes: mixed(before.labelledNodes ?? [], other.labelledNodes ?? []),
            }
          : {};
      const after = {
        ...tiers,
        pods: mixed(relabelled, other.pods),
        namespaces: mixed(before.namespaces, other.namespaces),
        policies: mixed(before.policies, other.policies),
      };
      return [snapshotOf(before), snapshotOf(after)] as const;
    });
}

// --- many policies for the same pods ---

/** Policies per namespace of a crowded cluster. */
const CROWD = 12;

interface Crowding {
  /** `own`: each policy also leaves out the pods labelled `word-<its number>`. */
  readonly words: 'same' | 'own';
  /** `own`: each policy has ports of its own; `named`: by name as well; `many`: more than rules are written for. */
  readonly ports: 'same' | 'own' | 'named' | 'many';
  /** `same`: of all policies. */
  readonly peers: 'same' | 'own';
  /** Where blocks are peers: in one policy of six, or in any. */
  readonly blocks: 'seldom' | 'often';
  /** Every other pod is labelled `word-<n>`; undefined: none is, and policies of a namespace occur together. */
  readonly parted: { readonly rest: 0 | 1; readonly word: number } | undefined;
}

const crowdingWith = (...ports: readonly Crowding['ports'][]): fc.Arbitrary<Crowding> =>
  fc.record({
    words: fc.constantFrom('same', 'own', 'own'),
    ports: fc.constantFrom(...ports),
    peers: fc.constantFrom('own', 'own', 'own', 'same'),
    blocks: fc.constantFrom('seldom', 'often'),
    parted: fc.option(fc.record({ rest: fc.constantFrom(0, 1), word: fc.nat({ max: CROWD - 1 }) }), { nil: undefined }),
  });

/** Without many ports: where every line of an update is looked at, their sets would be most of it. */
const crowding = crowdingWith('same', 'own', 'own', 'named');

/**
 * The cluster with many policies in each namespace that has one: they select what one of it selects, and their rules are those of the
 * other clusters. A rule that lets everybody in would say nothing about the others.
 */
function crowd(one: ClusterSnapshot, others: readonly ClusterSnapshot[], how: Crowding): ClusterSnapshot {
  const rules = [one, ...others]
    .flatMap(({ policies }) => [...policies.values()])
    .flatMap(({ ingress, egress }) => [...ingress, ...egress])
    .filter(({ peers }) => peers !== 'any');
  const selecting = [...one.policies.values()].filter((each) => selectsAny(each, one));
  const first = new Map(selecting.reverse().map((each) => [each.namespace, each]));
  const policies = [...first.values()].flatMap((each) =>
    Array.from({ length: CROWD }, (_, number) => crowded(each, number, rules, how)),
  );
  const pods = [...one.pods.values()].map((each, index) =>
    how.parted?.rest === index % 2 ? { ...each, labels: { ...each.labels, [`word-${how.parted.word}`]: '' } } : each,
  );
  return {
    ...one,
    pods: new Map(pods.map((each) => [objectKey(each), each])),
    policies: new Map(policies.map((each) => [objectKey(each), each])),
  };
}

function selectsAny({ namespace: own, podSelector }: Policy, { pods }: ClusterSnapshot): boolean {
  return [...pods.values()].some((each) => each.namespace === own && matches(podSelector, each.labels));
}

function crowded(first: Policy, number: number, rules: readonly Rule[], how: Crowding): Policy {
  const { podSelector, isolates } = first;
  const usable = how.blocks === 'often' || number % 6 === 5 ? rules : rules.filter(({ peers }) => isOfPods(peers));
  const word = { key: `word-${number}`, operator: 'DoesNotExist', values: [] } as const;
  const ownWords: Selector =
    podSelector.kind === 'nothing'
      ? podSelector
      : { kind: 'all-of', requirements: [...podSelector.requirements, word] };
  const own = usable.filter((_, index) => index % CROWD === number).map((each) => withPorts(each, number, rules, how));
  return {
    ...first,
    name: `crowd-${number}`,
    podSelector: how.words === 'own' ? ownWords : podSelector,
    ingress: isolates.ingress ? own : [],
    egress: isolates.egress ? own : [],
  };
}

function isOfPods(peers: Rule['peers']): boolean {
  return peers !== 'any' && peers.every(({ kind }) => kind === 'pods');
}

function withPorts(rule: Rule, number: number, rules: readonly Rule[], { ports, peers }: Crowding): Rule {
  const whose = peers === 'same' ? rules[0]!.peers : rule.peers;
  if (ports === 'same') return { peers: whose, ports: rules[0]!.ports };
  const port = PORTS[number % PORTS.length]!;
  const protocol = PROTOCOLS[Math.floor(number / PORTS.length)]!;
  const byNumber = { kind: 'range', protocol, first: port, last: port } as const;
  const byName = { kind: 'named', protocol: PROTOCOLS[number % 2]!, name: PORT_NAMES[(number >> 1) % 2]! } as const;
  const others = { own: [], named: [byName], many: MANY_PORTS }[ports];
  return { peers: whose, ports: [byNumber, ...others] };
}

/** Every other port. */
const MANY_PORTS = Array.from({ length: 125 }, (_, n) => {
  return { kind: 'range', protocol: PROTOCOLS[0], first: 10_000 + 2 * n, last: 10_000 + 2 * n } as const;
});

/** Enough other clusters for each policy of a crowd to have a rule. */
const otherClusters = fc.array(cluster, { minLength: 13, maxLength: 13 });

/** A crowd, and the same one without the pods that part it. */
export const crowdedCluster: fc.Arbitrary<{ readonly crowded: ClusterSnapshot; readonly whole: ClusterSnapshot }> = fc
  .tuple(cluster, otherClusters, crowdingWith('same', 'own', 'own', 'own', 'named', 'many'))
  .map(([one, others, how]) => ({
    crowded: crowd(one, others, how),
    whole: crowd(one, others, { ...how, parted: undefined }),
  }));

/** All policies are audited, and one more denies everything: what any of them allows would be newly let through. */
export const auditedCluster: fc.Arbitrary<ClusterSnapshot> = fc
  .oneof(
    cluster,
    crowdedCluster.map(({ crowded: one }) => one),
  )
  .map((one) => {
    const audited = [...one.policies.values()].map((each): Policy => ({ ...each, mode: 'audit' }));
    const policyTypes = ['Ingress', 'Egress'];
    const closing = NAMESPACES.map((name) => policyOf(`${name}/deny`, { podSelector: {}, policyTypes }, 'enforce'));
    return { ...one, policies: new Map([...audited, ...closing].map((each) => [objectKey(each), each])) };
  });

/** All policies are audited and select all pods, and nothing else isolates: what each would deny by itself another may allow. */
export const severallyAudited: fc.Arbitrary<ClusterSnapshot> = cluster.map((one) => {
  const podSelector: Selector = { kind: 'all-of', requirements: [] };
  const audited = [...one.policies.values()].map((each): Policy => ({ ...each, podSelector, mode: 'audit' }));
  return { ...one, policies: new Map(audited.map((each) => [objectKey(each), each])) };
});

/** Without Baseline policies: what these deny passes the counts of audited policies all the same. */
export const tieredAudits: fc.Arbitrary<ClusterSnapshot> = tieredCluster.map((one) => {
  const ahead = [...(one.clusterPolicies ?? [])].filter(([, { tier }]) => tier === 'Admin');
  return { ...one, clusterPolicies: new Map(ahead) };
});

/** A crowd and what became of it: besides what happens to any cluster, pods come and go that part it. */
export const crowdedPair: fc.Arbitrary<readonly [ClusterSnapshot, ClusterSnapshot]> = fc
  .tuple(clusterPair, otherClusters, crowding, crowding)
  .map(([[before, after], others, how, { parted }]) => [
    crowd(before, others, how),
    crowd(after, others, { ...how, parted }),
  ]);

// --- flows ---

function isInside(inner: string, outer: string): boolean {
  const [a, b] = [spanOf(inner), spanOf(outer)];
  return inner !== outer && a.family === b.family && b.first <= a.first && a.last <= b.last;
}

function spanOf(cidr: string): { family: 4 | 6; first: bigint; last: bigint } {
  const [address = '', length = ''] = cidr.split('/');
  const { family, value } = numberOf(address);
  const mask = prefixMask(family, Number(length));
  return { family, first: value & mask, last: value | (mask ^ ((1n << BigInt(WIDTH[family])) - 1n)) };
}

function textOf(family: 4 | 6, value: bigint): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16));
  // The shortest form, by the same standard as the program's.
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

/** Every pod and node, the first and last address of every block, and their neighbours. */
const EDGES: readonly string[] = (() => {
  const found = new Set<string>([...NODES.flatMap(({ addresses }) => addresses)]);
  for (const each of POD_ADDRESSES) found.add(each[4]).add(each[6]);
  for (const cidr of CIDRS) {
    const { family, first, last } = spanOf(cidr);
    const most = (1n << BigInt(WIDTH[family])) - 1n;
    for (const value of [first - 1n, first, last, last + 1n]) {
      // Mapped addresses are IPv4 to the program, and never on the wire.
      if (value >= 0n && value <= most) found.add(textOf(family, value));
    }
  }
  return [...found];
})();

const EDGE_PORTS = [...new Set([...PORTS, 10_000, 10_248].flatMap((port) => [port - 1, port, port + 1]))].filter(
  (port) => port <= 65535,
);
const EDGE_PROTOCOLS = [...PROTOCOLS.map((name) => PROTOCOL_NUMBER[name]), 47, 1, 58];

/** Flows with at least one end among the pods of the snapshots. */
export function flowsAtEdges(snapshots: readonly ClusterSnapshot[], count: number): fc.Arbitrary<readonly Flow[]> {
  const pods = snapshots.flatMap(({ pods: all }) => [...all.values()].flatMap(({ addresses }) => addresses));
  if (pods.length === 0) return fc.constant([]);
  const flow = fc
    .record({
      pod: fc.constantFrom(...pods),
      other: fc.oneof(fc.constantFrom(...pods), fc.constantFrom(...EDGES)),
      sends: fc.boolean(),
      protocol: fc.constantFrom(...EDGE_PROTOCOLS),
      port: fc.constantFrom(...EDGE_PORTS),
    })
    .filter(({ pod: address, other, protocol }) => {
      const family = address.includes(':') ? 6 : 4;
      return family === (other.includes(':') ? 6 : 4) && protocol !== (family === 4 ? 58 : 1);
    })
    .map(({ pod: address, other, sends, protocol, port }): Flow => {
      const [source, destination] = sends ? [address, other] : [other, address];
      const hasPort = protocol === 6 || protocol === 17 || protocol === 132;
      return { source, destination, protocol, port: hasPort ? port : 0 };
    });
  return fc.array(flow, { minLength: count, maxLength: count });
}
