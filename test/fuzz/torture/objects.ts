/** Random Kubernetes objects as people write them: valid, and made to step on each other's toes. */
import type { Protocol } from '../../../src/core/vocabulary.ts';
import { ADDRESSES_ANNOTATION, LINGER_ANNOTATION } from '../../../lab/kubelet.ts';
import { podAddress } from '../../../lab/network/address-plan.ts';
import { cidrCovers, formatCidr, parseCidr } from '../../../src/net/cidr.ts';
import type { Dice } from './dice.ts';
import { podObject } from '../../support/api-objects.ts';

export const NODES = ['node-1', 'node-2'];
export const NAMESPACES = ['red', 'green', 'blue'];
export const POD_NAMES = ['a', 'b', 'c', 'd'];
export const POLICY_NAMES = ['p0', 'p1', 'p2', 'p3'];
export const CLUSTER_POLICY_NAMES = ['c0', 'c1', 'c2', 'c3'];
export const LABEL_KEYS = ['app', 'tier', 'constructor'];
const VALUES = ['a', 'b', ''];
const PORT_NAMES = ['web', 'dns', 'metrics'];
const NUMBERS = [1, 53, 80, 81, 443, 8080, 65534, 65535];
const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];
/** Of a node's pod CIDR; several share their last four bits. */
const POD_NUMBERS = [2, 3, 4, 5, 18, 19, 31, 130, 254];

/** Addresses that blocks are drawn around, and their neighbours. */
const LANDMARKS = {
  4: [
    ...[0, 1].flatMap((node) => POD_NUMBERS.map((number) => podAddress(node, 4, number))),
    ...['10.0.0.11', '10.0.0.12', '203.0.113.10', '203.0.113.11', '203.0.113.12', '10.96.2.1', '255.255.255.255'],
  ],
  6: [
    ...[0, 1].flatMap((node) => POD_NUMBERS.map((number) => podAddress(node, 6, number))),
    ...['fd00:10::b', 'fd00:10::c', '2001:db8::a', '2001:db8::b', 'fd00:10:96::2:1', '::'],
  ],
} as const;
const LENGTHS = { 4: [0, 1, 8, 16, 24, 28, 29, 30, 31, 32], 6: [0, 1, 16, 48, 64, 120, 124, 126, 127, 128] } as const;

export type Labels = Record<string, string>;
export type Json = Record<string, unknown>;

export function someLabels(dice: Dice): Labels {
  return Object.fromEntries(LABEL_KEYS.filter(() => dice.chance(0.6)).map((key) => [key, dice.pick(VALUES)]));
}

/** What a merge patch of labels does: some are set, some taken away. */
export function labelPatch(dice: Dice): Record<string, string | null> {
  const keys = dice.some(LABEL_KEYS, dice.between(1, 2));
  return Object.fromEntries(keys.map((key) => [key, dice.chance(0.3) ? null : dice.pick(VALUES)]));
}

// ---------------------------------------------------------------------------------------------------------------- pods

export interface PodPlan {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  /** Empty for a host-network pod. */
  readonly addresses: readonly string[];
}

export function somePodAddresses(dice: Dice, node: string): readonly string[] {
  const index = NODES.indexOf(node);
  return [podAddress(index, 4, dice.pick(POD_NUMBERS)), podAddress(index, 6, dice.pick(POD_NUMBERS))];
}

export function somePod(dice: Dice, { namespace, name, node, addresses }: PodPlan): Json {
  const hostNetwork = addresses.length === 0;
  return podObject(`${namespace}/${name}`, {
    labels: someLabels(dice),
    metadata: {
      annotations: {
        ...(hostNetwork ? {} : { [ADDRESSES_ANNOTATION]: addresses.join(',') }),
        ...(dice.chance(0.3) ? { [LINGER_ANNOTATION]: 'true' } : {}),
      },
    },
    spec: {
      nodeName: node,
      ...(hostNetwork ? { hostNetwork: true } : {}),
      containers: ['main', 'other'].slice(0, dice.between(1, 2)).map((container) => someContainer(dice, container)),
      initContainers: [
        ...(dice.chance(0.3) ? [{ ...someContainer(dice, 'sidecar'), restartPolicy: 'Always' }] : []),
        ...(dice.chance(0.2) ? [someContainer(dice, 'init')] : []),
      ],
    },
  });
}

/** Port names and port numbers are each used once in a container, as the API asks. */
function someContainer(dice: Dice, name: string): Json {
  const names = dice.some(PORT_NAMES, dice.below(3));
  const numbers = dice.some(NUMBERS, names.length + 1);
  const ports = numbers.map((containerPort, index) => {
    const protocol = dice.chance(0.6) ? undefined : dice.pick(PROTOCOLS);
    return {
      containerPort,
      ...(protocol === undefined ? {} : { protocol }),
      ...(index < names.length ? { name: names[index] } : {}),
    };
  });
  // Where nothing at all listens for SCTP, the kernel answers with an error that says nothing about packets that arrive.
  return { name, image: 'lab', ports: [...ports, { containerPort: 9, protocol: 'SCTP' }] };
}

// ------------------------------------------------------------------------------------------------------------ policies

export function somePolicySpec(dice: Dice): Json {
  const types = dice.weighted<string[] | undefined>(
    [3, () => undefined],
    [2, () => ['Ingress']],
    [3, () => ['Egress']],
    [3, () => ['Ingress', 'Egress']],
  );
  return {
    ...(dice.chance(0.05) ? {} : { podSelector: someSelector(dice) }),
    ...(types ? { policyTypes: types } : {}),
    ...(dice.chance(0.8) ? { ingress: dice.list(0, 2, () => someRule(dice, 'from')) } : {}),
    ...(dice.chance(0.7) ? { egress: dice.list(0, 2, () => someRule(dice, 'to')) } : {}),
  };
}

export function someRule(dice: Dice, peers: 'from' | 'to'): Json {
  return {
    ...(dice.chance(0.75) ? { [peers]: dice.list(dice.chance(0.1) ? 0 : 1, 3, () => somePeer(dice)) } : {}),
    ...(dice.chance(0.6) ? { ports: dice.list(dice.chance(0.1) ? 0 : 1, 3, () => somePort(dice)) } : {}),
  };
}

/** Mostly wide: a selector that matches nothing tells nothing. */
export function someSelector(dice: Dice): Json {
  return dice.weighted<Json>(
    [3, () => ({})],
    [3, () => ({ matchLabels: { [dice.pick(LABEL_KEYS)]: dice.pick(VALUES) } })],
    [3, () => ({ matchExpressions: dice.list(1, 2, () => someExpression(dice)) })],
    [1, () => ({ matchLabels: someLabels(dice), matchExpressions: [someExpression(dice)] })],
  );
}

function someExpression(dice: Dice): Json {
  const key = dice.pick(LABEL_KEYS);
  return dice.chance(0.6)
    ? { key, operator: dice.pick(['In', 'NotIn']), values: dice.some(VALUES, dice.between(1, 2)) }
    : { key, operator: dice.pick(['Exists', 'DoesNotExist']) };
}

function someNamespaceSelector(dice: Dice): Json {
  if (dice.chance(0.6)) return someSelector(dice);
  const operator = dice.pick(['In', 'NotIn']);
  const values = dice.some(NAMESPACES, dice.between(1, 2));
  return { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator, values }] };
}

function somePeer(dice: Dice): Json {
  return dice.weighted<Json>(
    [3, () => ({ podSelector: someSelector(dice) })],
    [3, () => ({ namespaceSelector: someNamespaceSelector(dice) })],
    [2, () => ({ podSelector: someSelector(dice), namespaceSelector: someNamespaceSelector(dice) })],
    [4, () => ({ ipBlock: someBlock(dice) })],
  );
}

/** Excepts lie inside of the block and are smaller, as the API server demands. */
export function someBlock(dice: Dice): Json {
  const family = dice.pick([4, 6] as const);
  const cidr = someCidr(dice, family, LENGTHS[family]);
  const block = parseCidr(cidr)!;
  const longer = LENGTHS[family].filter((length) => length > block.prefixLength);
  const except = longer.length === 0 ? [] : dice.list(0, 3, () => someCidr(dice, family, longer));
  const inside = except.filter((hole) => cidrCovers(block, parseCidr(hole)!));
  return { cidr, ...(inside.length > 0 ? { except: inside } : {}) };
}

/** Sometimes with host bits, which mean nothing (S-29). */
function someCidr(dice: Dice, family: 4 | 6, lengths: readonly number[]): string {
  const text = `${dice.pick<string>(LANDMARKS[family])}/${dice.pick(lengths)}`;
  return dice.chance(0.2) ? text : formatCidr(parseCidr(text)!);
}

function somePort(dice: Dice): Json {
  const protocol = dice.chance(0.4) ? {} : { protocol: dice.pick(PROTOCOLS) };
  return dice.weighted<Json>(
    [1, () => protocol],
    [3, () => ({ ...protocol, port: dice.pick(NUMBERS) })],
    [3, () => ({ ...protocol, port: dice.pick(PORT_NAMES) })],
    [
      2,
      () => {
        const [a, b] = [dice.pick(NUMBERS), dice.pick(NUMBERS)];
        return { ...protocol, port: Math.min(a, b), endPort: Math.max(a, b) };
      },
    ],
  );
}

// ----------------------------------------------------------------------------------------------- cluster-wide policies

/** Few priorities: some are equal (N-67). */
const PRIORITIES = [0, 1, 2, 1000];
export const TIERS = ['Admin', 'Admin', 'Baseline'] as const;
export const ACTIONS = ['Accept', 'Deny', 'Pass'] as const;

export function someClusterPolicySpec(dice: Dice): Json {
  return {
    tier: dice.pick(TIERS),
    priority: somePriority(dice),
    subject: somePodsPeer(dice),
    ...(dice.chance(0.8) ? { ingress: dice.list(0, 3, () => someTierRule(dice, 'from')) } : {}),
    ...(dice.chance(0.8) ? { egress: dice.list(0, 3, () => someTierRule(dice, 'to')) } : {}),
  };
}

export function somePriority(dice: Dice): number {
  return dice.pick(PRIORITIES);
}

/** With one kind of peers: names of ports and peers that have none may not be in one rule (N-33). */
export function someTierRule(dice: Dice, side: 'from' | 'to'): Json {
  const isFar = side === 'to' && dice.chance(0.4);
  return {
    ...(dice.chance(0.3) ? { name: dice.pick(['guard', 'rule of "everybody"']) } : {}),
    action: dice.pick(ACTIONS),
    [side]: dice.list(1, 3, () => (isFar ? someFarPeer(dice) : somePodsPeer(dice))),
    ...(dice.chance(0.5) ? { protocols: dice.list(1, 3, () => someProtocol(dice, !isFar)) } : {}),
  };
}

function somePodsPeer(dice: Dice): Json {
  if (dice.chance(0.5)) return { namespaces: someNamespaceSelector(dice) };
  const namespaceSelector = dice.chance(0.5) ? {} : { namespaceSelector: someNamespaceSelector(dice) };
  return { pods: { podSelector: someSelector(dice), ...namespaceSelector } };
}

function someFarPeer(dice: Dice): Json {
  const family = dice.pick([4, 6] as const);
  const cidrs = (): string[] => [...new Set(dice.list(1, 3, () => someCidr(dice, family, LENGTHS[family])))];
  return dice.weighted<Json>(
    [8, () => ({ networks: cidrs() })],
    [5, () => ({ nodes: someSelector(dice) })],
    [2, () => somePodsPeer(dice)],
    // No agent without DNS supports it: it accepts nothing, and denies everything (N-90).
    [1, () => ({ domainNames: ['*.example.com'] })],
  );
}

function someProtocol(dice: Dice, mayBeNamed: boolean): Json {
  if (mayBeNamed && dice.chance(0.3)) return { destinationNamedPort: dice.pick(PORT_NAMES) };
  const [start, end] = dice.some(NUMBERS, 2).sort((a, b) => a - b);
  const destinationPort = dice.chance(0.6) ? { number: dice.pick(NUMBERS) } : { range: { start, end } };
  return { [dice.pick(['tcp', 'tcp', 'udp', 'sctp'])]: { destinationPort } };
}
