/**
 * ClusterNetworkPolicy objects of v1alpha2 as the API server or a file gives them -> ClusterPolicy.
 *
 * What cannot be understood never lets more through (N-90, N-91, N-93). An entry that is unusable in any part (unknown field, no known field,
 * domain names, a selector, CIDR or port that is none) matches nothing in an Accept rule; a Deny or Pass rule that has one denies everything in
 * its direction. A rule with an unknown action or field does so, too. Where tier, priority or subject cannot be understood that is so for
 * every rule; a subject that cannot be understood is every pod. Each is reported with the path of the field.
 */
import type { Direction, Protocol } from '../core/vocabulary.ts';
import { type Cidr, parseCidr } from '../net/cidr.ts';
import {
  type Action,
  ACTIONS,
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  EVERYTHING,
  type PortMatch,
  type Problem,
  type Selector,
  TIERS,
} from './model.ts';
import { isUsableName, MAX_PROBLEMS } from './parse.ts';
import { isRecord, quote, type RawRecord, unknownFields } from './raw-values.ts';
import { type FieldProblem, parseSelector } from './selector.ts';

interface ParsedClusterPolicy {
  /** Absent only when the object has no usable name. */
  readonly policy?: ClusterPolicy;
  readonly problems: readonly Problem[];
}

const KIND = 'ClusterNetworkPolicy';
const MAX_PORT = 65535;
const MAX_PRIORITY = 1000;
const PROTOCOLS = { tcp: 'TCP', udp: 'UDP', sctp: 'SCTP' } as const satisfies Record<string, Protocol>;
const NAMED_PORT = 'destinationNamedPort';
const PEERS_FIELD = { ingress: 'from', egress: 'to' } as const;

/** Never throws, whatever `object` is. */
export function parseClusterPolicy(object: unknown): ParsedClusterPolicy {
  const metadata = isRecord(object) && isRecord(object.metadata) ? object.metadata : {};
  const { name, uid, generation } = metadata;
  const found: FieldProblem[] = [];
  if (!isRecord(object) || !isUsableName(name)) {
    const message = `is ${quote(name)}: the policy is ignored`;
    return { problems: attach('', [{ field: 'metadata.name', message }]) };
  }
  const policy: ClusterPolicy = {
    name,
    uid: typeof uid === 'string' ? uid : '',
    ...(typeof generation === 'number' ? { generation } : {}),
    ...parseSpec(object.spec, found),
  };
  return { policy, problems: attach(name, found) };
}

function attach(name: string, found: readonly FieldProblem[]): Problem[] {
  const object = { kind: KIND, name };
  const problems = found.slice(0, MAX_PROBLEMS).map((problem) => ({ object, ...problem }));
  if (found.length > MAX_PROBLEMS)
    problems.push({ object, field: 'spec', message: `has ${found.length - MAX_PROBLEMS} more problems` });
  return problems;
}

/** N-4: nothing has a default but the two lists of rules. */
function parseSpec(given: unknown, problems: FieldProblem[]): Omit<ClusterPolicy, 'name' | 'uid'> {
  const raw = isRecord(given) ? given : {};
  const head: FieldProblem[] = isRecord(given) ? [] : [{ field: 'spec', message: `is ${quote(given)}, not an object` }];
  head.push(...unknownFields(raw, ['tier', 'priority', 'subject', 'ingress', 'egress'], 'spec'));
  const { tier, priority } = raw;
  if (!isOneOf(TIERS, tier)) head.push({ field: 'spec.tier', message: `is ${quote(tier)}, not ${TIERS.join(' or ')}` });
  if (!isPriority(priority))
    head.push({ field: 'spec.priority', message: `is ${quote(priority)}, not a number in 0-${MAX_PRIORITY}` });
  const subject = parseSubject(raw.subject, head);
  for (const { field, message } of head)
    problems.push({ field, message: `${message}: its Accept rules match nothing, its other rules deny everything` });
  const rules = (direction: Direction): readonly ClusterRule[] =>
    parseRules(raw[direction], direction, problems).map((rule) => (head.length === 0 ? rule : distrusted(rule)));
  return {
    tier: isOneOf(TIERS, tier) ? tier : 'Admin',
    priority: isPriority(priority) ? priority : 0,
    subject: subject ?? { namespaces: EVERYTHING, pods: EVERYTHING },
    ingress: rules('ingress'),
    egress: rules('egress'),
  };
}

function isOneOf<T extends string>(known: readonly T[], value: unknown): value is T {
  return known.some((each) => each === value);
}

function isPriority(value: unknown): value is ClusterPolicy['priority'] {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_PRIORITY;
}

/** N-12. */
function parseSubject(raw: unknown, problems: FieldProblem[]): ClusterPolicy['subject'] | undefined {
  const found: FieldProblem[] = [];
  const choice = onlyField(raw, ['namespaces', 'pods'], 'spec.subject', found);
  const subject = choice && parsePodSelection(choice, `spec.subject.${choice.name}`, found);
  for (const { field, message } of found) problems.push({ field, message: `${message}: every pod is its subject` });
  return found.length === 0 ? subject : undefined;
}

/** What is there in place of a rule that cannot be understood (N-90). */
function distrusted({ name, action }: Pick<ClusterRule, 'name' | 'action'>): ClusterRule {
  const named = name === undefined ? {} : { name };
  return action === 'Accept'
    ? { ...named, action, ports: [], peers: [] }
    : { ...named, action: 'Deny', ports: 'any', peers: 'any' };
}

/** N-13: the order counts. */
function parseRules(raw: unknown, direction: Direction, problems: FieldProblem[]): readonly ClusterRule[] {
  if (raw === undefined || raw === null) return [];
  const field = `spec.${direction}`;
  if (Array.isArray(raw))
    return raw.map((entry: unknown, index) => parseRule(entry, `${field}[${index}]`, direction, problems));
  problems.push({ field, message: `is ${quote(raw)}, not a list: everything is denied` });
  return [distrusted({ action: 'Deny' })];
}

function parseRule(given: unknown, field: string, direction: Direction, problems: FieldProblem[]): ClusterRule {
  const raw = isRecord(given) ? given : {};
  const peersField = PEERS_FIELD[direction];
  const whole: FieldProblem[] = isRecord(given) ? [] : [{ field, message: `is ${quote(given)}, not a rule` }];
  whole.push(...unknownFields(raw, ['name', 'action', 'protocols', peersField], field));
  const action: Action | undefined = isOneOf(ACTIONS, raw.action) ? raw.action : undefined;
  if (!action) whole.push({ field: `${field}.action`, message: `is ${quote(raw.action)}, not Accept, Deny or Pass` });
  const entries: FieldProblem[] = [];
  const ports = parsePorts(raw.protocols, `${field}.protocols`, entries);
  const peers = parsePeers(raw[peersField], `${field}.${peersField}`, direction, entries);
  const isAccept = action === 'Accept';
  for (const { field: at, message } of whole)
    problems.push({ field: at, message: `${message}: the rule ${isAccept ? 'matches nothing' : 'denies everything'}` });
  for (const { field: at, message } of entries)
    problems.push({
      field: at,
      message: `${message}: ${isAccept ? 'the entry matches nothing' : 'the rule denies everything'}`,
    });
  const head = { ...(typeof raw.name === 'string' ? { name: raw.name } : {}), action: action ?? 'Deny' };
  return whole.length > 0 || (entries.length > 0 && !isAccept) ? distrusted(head) : { ...head, ports, peers };
}

interface Choice {
  readonly name: string;
  readonly value: unknown;
}

/** The one field of a union (N-12, N-18, N-25); one that has another, none or several is unusable. */
function onlyField(
  raw: unknown,
  known: readonly string[],
  field: string,
  problems: FieldProblem[],
): Choice | undefined {
  if (!isRecord(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not an object` });
    return undefined;
  }
  const [unknown] = unknownFields(raw, known, field);
  const names = Object.keys(raw).filter((name) => (raw[name] ?? undefined) !== undefined);
  if (unknown) problems.push(unknown);
  else if (names.length !== 1) problems.push({ field, message: `needs exactly one of ${known.join(', ')}` });
  else return { name: names[0]!, value: raw[names[0]!] };
  return undefined;
}

/** N-12, N-20, N-41. `pods` names namespaces by an optional selector: absent, they are all meant. */
function parsePodSelection(
  { name, value }: Choice,
  field: string,
  problems: FieldProblem[],
): ClusterPolicy['subject'] | undefined {
  if (name === 'namespaces') {
    const namespaces = selectorIn(value, field, problems);
    return namespaces && { namespaces, pods: EVERYTHING };
  }
  if (!isRecord(value)) {
    problems.push({ field, message: `is ${quote(value)}, not an object` });
    return undefined;
  }
  problems.push(...unknownFields(value, ['namespaceSelector', 'podSelector'], field));
  const namespaces = selectorIn(value.namespaceSelector ?? {}, `${field}.namespaceSelector`, problems);
  const pods = selectorIn(value.podSelector, `${field}.podSelector`, problems);
  return namespaces && pods && { namespaces, pods };
}

/** Undefined: unusable, which was said. */
function selectorIn(raw: unknown, field: string, problems: FieldProblem[]): Selector | undefined {
  const { selector, problems: found } = parseSelector(raw, field);
  problems.push(...found);
  return found.length === 0 ? selector : undefined;
}

/** N-16: no peers is never everybody. */
function parsePeers(
  raw: unknown,
  field: string,
  direction: Direction,
  problems: FieldProblem[],
): readonly ClusterPeer[] {
  if (!Array.isArray(raw) || raw.length === 0) {
    problems.push({ field, message: `is ${quote(raw)}, not a list with a peer` });
    return [];
  }
  return raw.flatMap((entry: unknown, index) => {
    const found: FieldProblem[] = [];
    const peers = parsePeer(entry, `${field}[${index}]`, direction, found);
    problems.push(...found);
    return found.length === 0 ? peers : [];
  });
}

const PEER_FIELDS = {
  ingress: ['namespaces', 'pods'],
  egress: ['namespaces', 'pods', 'nodes', 'networks', 'domainNames'],
} as const;

/** N-18, N-19. Several networks are several peers. */
function parsePeer(
  raw: unknown,
  field: string,
  direction: Direction,
  problems: FieldProblem[],
): readonly ClusterPeer[] {
  const choice = onlyField(raw, PEER_FIELDS[direction], field, problems);
  if (!choice) return [];
  const at = `${field}.${choice.name}`;
  switch (choice.name) {
    case 'nodes': {
      const nodes = selectorIn(choice.value, at, problems);
      return nodes ? [{ kind: 'nodes', nodes }] : [];
    }
    case 'networks':
      return parseNetworks(choice.value, at, problems).map((cidr) => ({ kind: 'ip-block', cidr, except: [] }));
    case 'domainNames':
      // N-87: who does not see DNS answers cannot know them.
      problems.push({ field: at, message: 'is not supported by this agent' });
      return [];
    default: {
      const selection = parsePodSelection(choice, at, problems);
      return selection ? [{ kind: 'pods', ...selection }] : [];
    }
  }
}

/** N-23: host bits do not count. */
function parseNetworks(raw: unknown, field: string, problems: FieldProblem[]): readonly Cidr[] {
  if (!Array.isArray(raw) || raw.length === 0) {
    problems.push({ field, message: `is ${quote(raw)}, not a list with a CIDR` });
    return [];
  }
  return raw.flatMap((text: unknown, index) => {
    const cidr = typeof text === 'string' ? parseCidr(text) : undefined;
    if (!cidr) problems.push({ field: `${field}[${index}]`, message: `is ${quote(text)}, not a CIDR` });
    return cidr ?? [];
  });
}

/** N-17: absent is every protocol and port. */
function parsePorts(raw: unknown, field: string, problems: FieldProblem[]): ClusterRule['ports'] {
  if (raw === undefined || raw === null) return 'any';
  if (!Array.isArray(raw) || raw.length === 0) {
    problems.push({ field, message: `is ${quote(raw)}, not a list with an entry` });
    return [];
  }
  return raw.flatMap((entry: unknown, index) => parsePort(entry, `${field}[${index}]`, problems));
}

/** N-25 to N-29. */
function parsePort(raw: unknown, field: string, problems: FieldProblem[]): readonly PortMatch[] {
  const choice = onlyField(raw, [...Object.keys(PROTOCOLS), NAMED_PORT], field, problems);
  if (!choice) return [];
  const at = `${field}.${choice.name}`;
  if (choice.name !== NAMED_PORT) {
    const protocol = PROTOCOLS[choice.name as keyof typeof PROTOCOLS];
    const range = parseProtocol(choice.value, at, problems);
    return range ? [{ kind: 'range', protocol, ...range }] : [];
  }
  const { value: name } = choice;
  // N-53: of whichever protocol the container declares it.
  if (typeof name === 'string' && name !== '')
    return Object.values(PROTOCOLS).map((protocol) => ({ kind: 'named', protocol, name }));
  problems.push({ field: at, message: `is ${quote(name)}, not a name` });
  return [];
}

interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** N-26: without a destination port, all of them. */
function parseProtocol(raw: unknown, field: string, problems: FieldProblem[]): PortRange | undefined {
  if (!isRecord(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not an object` });
    return undefined;
  }
  const [unknown] = unknownFields(raw, ['destinationPort'], field);
  if (unknown) {
    problems.push(unknown);
    return undefined;
  }
  if ((raw.destinationPort ?? undefined) === undefined) return { first: 0, last: MAX_PORT };
  return parseDestinationPort(raw.destinationPort, `${field}.destinationPort`, problems);
}

/** N-27, N-28. */
function parseDestinationPort(raw: unknown, field: string, problems: FieldProblem[]): PortRange | undefined {
  const choice = onlyField(raw, ['number', 'range'], field, problems);
  if (!choice) return undefined;
  const at = `${field}.${choice.name}`;
  if (choice.name === 'number') {
    if (isPort(choice.value)) return { first: choice.value, last: choice.value };
    problems.push({ field: at, message: `is ${quote(choice.value)}, not a number in 1-${MAX_PORT}` });
    return undefined;
  }
  const { start, end, ...more }: RawRecord = isRecord(choice.value) ? choice.value : {};
  if (isPort(start) && isPort(end) && start <= end && Object.keys(more).length === 0)
    return { first: start, last: end };
  problems.push({ field: at, message: `is no range from start to end in 1-${MAX_PORT}` });
  return undefined;
}

function isPort(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_PORT;
}
