/**
 * What cluster-wide policies say of a flow, read from the objects as users write them, more simply than the reference evaluator does and with nothing
 * in common with it but the records of pods and nodes. It knows no doubt: all labels are known, and no two pods show one address.
 */
import type { LabelledNode, Labels, NamedPort } from '../../src/policy/model.ts';
import { numberOf, prefixMask } from './address-number.ts';

export interface NaivePod {
  readonly namespaceLabels: Labels;
  readonly labels: Labels;
  readonly namedPorts: readonly NamedPort[];
}

/** One direction of a flow: the pod whose rules are asked, and who is at the other end. */
export interface NaiveQuestion {
  readonly side: 'ingress' | 'egress';
  readonly subject: NaivePod;
  readonly peer: NaivePod | undefined;
  readonly peerAddress: string;
  /** That of the pod at the destination. */
  readonly namedPorts: readonly NamedPort[];
  readonly protocol: number;
  readonly port: number;
  readonly nodes: readonly LabelledNode[];
  /** What NetworkPolicies say; undefined: none of them isolates the subject. */
  readonly networkPolicies: 'allow' | 'deny' | undefined;
}

type Fields = Readonly<Record<string, unknown>>;
interface NaiveObject {
  readonly metadata: { readonly name: string };
  readonly spec: object;
}

/** Whether something matches; undefined: it is not understood. */
type Answer = boolean | undefined;

const NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;
const NAMES = { tcp: 'TCP', udp: 'UDP', sctp: 'SCTP' } as const;
type ProtocolField = keyof typeof NUMBERS;

/** N-60 to N-66. Of two objects of one name the later counts. */
export function naiveTiers(objects: readonly NaiveObject[], question: NaiveQuestion): 'allow' | 'deny' {
  const policies = [...new Map(objects.map((each) => [each.metadata.name, each])).values()];
  const admin = tierSays(policies, 'Admin', question);
  if (admin !== 'Pass') return admin;
  if (question.networkPolicies !== undefined) return question.networkPolicies;
  return tierSays(policies, 'Baseline', question) === 'deny' ? 'deny' : 'allow';
}

function tierSays(policies: readonly NaiveObject[], tier: string, question: NaiveQuestion): 'allow' | 'deny' | 'Pass' {
  const inTier = policies
    .map(({ metadata: { name }, spec }) => ({ name, ...headOf(spec as Fields, question) }))
    .filter((head) => head.tier === tier && head.isSubject)
    .sort((a, b) => (a.priority === b.priority ? (a.name < b.name ? -1 : 1) : a.priority - b.priority));
  for (const { rules, isUnderstood } of inTier)
    for (const rule of rules) {
      const action = actionOn(rule, isUnderstood, question);
      if (action === 'Accept') return 'allow';
      if (action === 'Deny') return 'deny';
      if (action === 'Pass') return 'Pass';
    }
  return 'Pass';
}

/** N-90, N-93: an object that is not understood concerns all pods, ahead of all others. */
function headOf(spec: Fields, { side, subject }: NaiveQuestion) {
  const { tier, priority, subject: whom, ingress, egress } = spec;
  const isTier = tier === 'Admin' || tier === 'Baseline';
  const isPriority = typeof priority === 'number' && priority >= 0 && priority <= 1000;
  const isSubject = selectsPod(whom, subject);
  return {
    tier: isTier ? tier : 'Admin',
    priority: isPriority ? priority : 0,
    isSubject: isSubject ?? true,
    isUnderstood: isTier && isPriority && isSubject !== undefined,
    rules: ((side === 'ingress' ? ingress : egress) ?? []) as readonly Fields[],
  };
}

/** What the rule does with the flow; undefined: it does not match. */
function actionOn(rule: Fields, isObjectUnderstood: boolean, question: NaiveQuestion): string | undefined {
  const { action, from, to, protocols, name: _name, ...more } = rule;
  const [peers, stray] = (question.side === 'ingress' ? [from, to] : [to, from]) as [readonly Fields[], unknown];
  const isKnownAction = action === 'Accept' || action === 'Deny' || action === 'Pass';
  const isWhole = isObjectUnderstood && isKnownAction && stray === undefined && Object.keys(more).length === 0;
  const isEmpty = peers.length === 0 || (Array.isArray(protocols) && protocols.length === 0);
  const byPeer = peers.map((peer) => peerAnswers(peer, question));
  const byProtocol = (protocols as readonly Fields[] | undefined)?.map((entry) => protocolAnswers(entry, question));
  if (action === 'Accept') {
    if (!isWhole) return undefined;
  } else if (!isWhole || isEmpty || byPeer.includes(undefined) || byProtocol?.includes(undefined)) return 'Deny';
  const matched = peers.some(
    (peer, at) =>
      byPeer[at] === true &&
      (protocols === undefined ||
        (protocols as readonly Fields[]).some(
          // N-55: nodes and networks declare no ports.
          (entry, index) => byProtocol![index] === true && (!('destinationNamedPort' in entry) || isOfPods(peer)),
        )),
  );
  return matched ? (action as string) : undefined;
}

function isOfPods(peer: Fields): boolean {
  return 'pods' in peer || 'namespaces' in peer;
}

function peerAnswers(peer: Fields, question: NaiveQuestion): Answer {
  const [field, ...others] = Object.keys(peer);
  if (field === undefined || others.length > 0) return undefined;
  if (field === 'pods' || field === 'namespaces') return selectsPod(peer, question.peer);
  if (question.side === 'ingress') return undefined;
  if (field === 'networks') return anyOf((peer.networks as string[]).map((cidr) => holds(cidr, question.peerAddress)));
  if (field !== 'nodes') return undefined;
  if (selects(peer.nodes, {}) === undefined) return undefined;
  return question.nodes.some(
    ({ addresses, labels }) => addresses.includes(question.peerAddress) && selects(peer.nodes, labels),
  );
}

function anyOf(answers: readonly Answer[]): Answer {
  return answers.includes(undefined) ? undefined : answers.includes(true);
}

/** `{ namespaces }` or `{ pods: { namespaceSelector, podSelector } }`; without a pod only whether that is understood. */
function selectsPod(choice: unknown, pod: NaivePod | undefined): Answer {
  const { namespaces, pods, ...more } = choice as Fields;
  if (Object.keys(more).length > 0 || (namespaces === undefined) === (pods === undefined)) return undefined;
  const { namespaceSelector = {}, podSelector, ...rest } = (pods ?? { podSelector: {} }) as Fields;
  if (Object.keys(rest).length > 0) return undefined;
  const byNamespace = selects(namespaces ?? namespaceSelector, pod?.namespaceLabels ?? {});
  const byPod = selects(podSelector, pod?.labels ?? {});
  if (byNamespace === undefined || byPod === undefined) return undefined;
  return pod !== undefined && byNamespace && byPod;
}

function selects(selector: unknown, labels: Labels): Answer {
  if (selector === undefined) return undefined;
  const { matchLabels = {}, matchExpressions = [], ...more } = selector as Fields;
  if (Object.keys(more).length > 0) return undefined;
  const own = new Map(Object.entries(labels));
  const answers = [
    ...Object.entries(matchLabels as Fields).map(([key, value]) =>
      typeof value === 'string' ? own.get(key) === value : undefined,
    ),
    ...(matchExpressions as readonly Fields[]).map(({ key, operator, values }): Answer => {
      const has = own.has(key as string);
      if (operator === 'Exists') return has;
      if (operator === 'DoesNotExist') return !has;
      if ((operator !== 'In' && operator !== 'NotIn') || (values as string[]).length === 0) return undefined;
      const isOne = has && (values as string[]).includes(own.get(key as string)!);
      return operator === 'In' ? isOne : !isOne;
    }),
  ];
  return answers.includes(undefined) ? undefined : !answers.includes(false);
}

function holds(cidr: string, address: string): Answer {
  const [text = '', length = ''] = cidr.split('/');
  const [block, one] = [numberOf(text), numberOf(address)];
  if (Number(length) > (block.family === 4 ? 32 : 128)) return undefined;
  const mask = prefixMask(block.family, Number(length));
  return block.family === one.family && (block.value & mask) === (one.value & mask);
}

function protocolAnswers(entry: Fields, { protocol, port, namedPorts }: NaiveQuestion): Answer {
  const [field, ...others] = Object.keys(entry);
  if (field === undefined || others.length > 0) return undefined;
  if (field === 'destinationNamedPort') {
    if (entry.destinationNamedPort === '') return undefined;
    return namedPorts.some(
      (each) => each.name === entry.destinationNamedPort && numberOfName(each) === protocol && each.port === port,
    );
  }
  if (!(field in NUMBERS)) return undefined;
  const { destinationPort = { range: { start: 0, end: 65535 } }, ...rest } = entry[field] as Fields;
  if (Object.keys(rest).length > 0) return undefined;
  const { number, range } = destinationPort as { number?: number; range?: { start: number; end: number } };
  const [first, last] = number === undefined ? [range?.start ?? 1, range?.end ?? 0] : [number, number];
  if (first > last) return undefined;
  return NUMBERS[field as ProtocolField] === protocol && first <= port && port <= last;
}

function numberOfName({ protocol }: NamedPort): number {
  const field = (Object.keys(NAMES) as ProtocolField[]).find((each) => NAMES[each] === protocol)!;
  return NUMBERS[field];
}
