/**
 * NetworkPolicy objects as the API server or a file gives them -> Policy, with the API's defaults applied.
 *
 * What cannot be understood never widens what a policy allows (S-50). From the outside in:
 * - no usable name or namespace: no policy at all, there is nothing to attach it to;
 * - `spec` or `spec.podSelector` unusable: every pod of the namespace is isolated and no rule is kept (S-19);
 * - `policyTypes` with an unusable entry: both directions are isolated;
 * - a rule that is not an object or has unknown fields: allows nothing;
 * - a peer or port entry that is unusable in any part: matches nothing, its siblings keep their meaning.
 * Each is reported with the path of the field. `null` counts as absent for a field (as in the API), but not for a list entry.
 */
import { type Cidr, cidrCovers, parseCidr } from '../net/cidr.ts';
import type { Direction, Protocol } from '../core/vocabulary.ts';
import {
  EVERYTHING,
  type Peer,
  type Policy,
  type PolicyHead,
  type PortMatch,
  type Problem,
  type Rule,
  type Selector,
} from './model.ts';
import { readPolicyMode } from './policy-mode.ts';
import { type RawRecord, isRecord, quote, unknownFields } from './raw-values.ts';
import { type FieldProblem, parseSelector } from './selector.ts';

interface ParsedPolicy {
  /** Absent only when the object has no usable name and namespace. */
  readonly policy?: Policy;
  readonly problems: readonly Problem[];
}

/** A policy whose rules were not read. */
interface ParsedHead {
  /** Absent only when the object has no usable name and namespace. */
  readonly head?: PolicyHead;
  /** What the object says under `ingress` and `egress`; undefined where that does not count (S-13, S-19). */
  readonly sections: Readonly<Record<Direction, unknown>>;
  /** Without those of the rules. */
  readonly problems: FieldProblem[];
}

/** Of one policy; a line telling how many more there are follows. Lists may hold a hundred thousand bad entries. */
export const MAX_PROBLEMS = 50;

const MAX_PORT = 65535;
/** Longest DNS subdomain (S-47). */
const MAX_NAME = 253;
const POLICY_TYPE = { ingress: 'Ingress', egress: 'Egress' } as const;
const PEERS_FIELD = { ingress: 'from', egress: 'to' } as const;

/** Never throws, whatever `object` is. */
export function parsePolicy(object: unknown): ParsedPolicy {
  const { head, sections, problems } = parsePolicyHead(object);
  if (!head) return { problems: policyProblems(object, problems) };
  const ingress = parseRules(sections.ingress, 'ingress', problems);
  const egress = parseRules(sections.egress, 'egress', problems);
  return { policy: { ...head, ingress, egress }, problems: policyProblems(object, problems) };
}

/** Whom the policy isolates, without reading its rules. Never throws. */
export function parsePolicyHead(object: unknown): ParsedHead {
  const metadata = isRecord(object) && isRecord(object.metadata) ? object.metadata : {};
  const { name, namespace, uid } = metadata;
  const problems: FieldProblem[] = [];
  if (!isRecord(object) || !isUsableName(name) || !isUsableName(namespace)) {
    checkName(namespace, 'metadata.namespace', problems);
    checkName(name, 'metadata.name', problems);
    return { sections: NO_SECTIONS, problems };
  }
  const { mode, problem } = readPolicyMode(metadata.annotations, 'the policy is');
  if (problem) problems.push(problem);
  const { podSelector, isolates, sections } = parseSpec(object.spec ?? {}, problems);
  const head: PolicyHead = {
    namespace,
    name,
    uid: typeof uid === 'string' ? uid : '',
    podSelector,
    isolates,
    ...(mode ? { mode } : {}),
  };
  return { head, sections, problems };
}

/** What was found in a policy, as its problems: the first ones, and how many more there are. */
export function policyProblems(object: unknown, found: readonly FieldProblem[]): readonly Problem[] {
  const metadata = isRecord(object) && isRecord(object.metadata) ? object.metadata : {};
  const { name, namespace } = metadata;
  return attach(found, typeof name === 'string' ? name.slice(0, MAX_NAME) : '', namespace);
}

/** Looser than the API (DNS-1123), but a name that passes is safe in a `namespace/name` key and on one line. */
export function isUsableName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_NAME && /^[^\s/\p{Cc}]+$/u.test(value);
}

function checkName(value: unknown, field: string, problems: FieldProblem[]): void {
  if (!isUsableName(value)) problems.push({ field, message: `is ${quote(value)}: the policy is ignored` });
}

function attach(found: readonly FieldProblem[], name: string, namespace: unknown): Problem[] {
  const object = { kind: 'NetworkPolicy', ...(isUsableName(namespace) ? { namespace } : {}), name };
  const problems = found.slice(0, MAX_PROBLEMS).map((problem) => ({ object, ...problem }));
  if (found.length > MAX_PROBLEMS) {
    problems.push({ object, field: 'spec', message: `has ${found.length - MAX_PROBLEMS} more problems` });
  }
  return problems;
}

type Spec = Pick<PolicyHead, 'podSelector' | 'isolates'> & Pick<ParsedHead, 'sections'>;

const NO_SECTIONS = { ingress: undefined, egress: undefined } as const;

function parseSpec(raw: unknown, problems: FieldProblem[]): Spec {
  if (!isRecord(raw)) {
    problems.push({ field: 'spec', message: `is ${quote(raw)}: every pod is isolated in both directions` });
    return { podSelector: EVERYTHING, isolates: { ingress: true, egress: true }, sections: NO_SECTIONS };
  }
  for (const problem of unknownFields(raw, ['podSelector', 'policyTypes', 'ingress', 'egress'], 'spec'))
    problems.push(problem);
  const isolates = parsePolicyTypes(raw, problems);
  const podSelector = parseSubject(raw.podSelector ?? {}, problems);
  // S-19: an unusable subject selector keeps no rules.
  if (podSelector.kind === 'nothing') return { podSelector: EVERYTHING, isolates, sections: NO_SECTIONS };
  // S-13: a section whose type is not in effect is not even read.
  const section = (direction: Direction): unknown => (isolates[direction] ? (raw[direction] ?? undefined) : undefined);
  return { podSelector, isolates, sections: { ingress: section('ingress'), egress: section('egress') } };
}

/** S-15: absent, null and {} select every pod of the namespace. */
function parseSubject(raw: unknown, problems: FieldProblem[]): Selector {
  const { selector, problems: found } = parseSelector(raw, 'spec.podSelector');
  for (const { field, message } of found) {
    problems.push({ field, message: `${message}: every pod of the namespace is isolated and no rule is used` });
  }
  return selector;
}

/** S-11, S-12. */
function parsePolicyTypes(spec: RawRecord, problems: FieldProblem[]): Policy['isolates'] {
  const field = 'spec.policyTypes';
  const types = spec.policyTypes ?? [];
  if (!Array.isArray(types)) {
    problems.push({ field, message: `is ${quote(types)}, not a list: both directions are isolated` });
    return { ingress: true, egress: true };
  }
  if (types.length === 0) return { ingress: true, egress: hasEgressRules(spec.egress) };
  const unknown = types.findIndex((type) => type !== POLICY_TYPE.ingress && type !== POLICY_TYPE.egress);
  if (unknown >= 0) {
    const message = `is ${quote(types[unknown])}, not Ingress or Egress: both directions are isolated`;
    problems.push({ field: `${field}[${unknown}]`, message });
    return { ingress: true, egress: true };
  }
  return { ingress: types.includes(POLICY_TYPE.ingress), egress: types.includes(POLICY_TYPE.egress) };
}

/** A section that is there but is not a list was meant to say something about egress. */
function hasEgressRules(egress: unknown): boolean {
  return Array.isArray(egress) ? egress.length > 0 : egress !== undefined && egress !== null;
}

/** `raw`: a section of a head. Absent, null and [] are no rules at all. */
export function parseRules(raw: unknown, direction: Direction, problems: FieldProblem[]): readonly Rule[] {
  if (raw === undefined || raw === null) return NO_RULES;
  const field = `spec.${direction}`;
  if (!Array.isArray(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not a list: it allows nothing` });
    return [];
  }
  return raw.map((entry: unknown, index) => parseRule(entry, `${field}[${index}]`, direction, problems));
}

const NO_RULES: readonly Rule[] = [];
const ALLOWS_NOTHING: Rule = { ports: [], peers: [] };

function parseRule(raw: unknown, field: string, direction: Direction, problems: FieldProblem[]): Rule {
  if (!isRecord(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not a rule: it allows nothing` });
    return ALLOWS_NOTHING;
  }
  const peersField = PEERS_FIELD[direction];
  const unknown = unknownFields(raw, ['ports', peersField], field);
  if (unknown.length > 0) {
    for (const problem of unknown)
      problems.push({ ...problem, message: `${problem.message}: the rule allows nothing` });
    return ALLOWS_NOTHING;
  }
  return {
    ports: parsePorts(raw.ports ?? [], `${field}.ports`, problems),
    peers: parsePeers(raw[peersField] ?? [], `${field}.${peersField}`, problems),
  };
}

/** Reports one unusable entry of a list, whose effect is always the same. */
function matchesNothing(field: string, message: string, problems: FieldProblem[]): undefined {
  problems.push({ field, message: `${message}: the entry matches nothing` });
  return undefined;
}

/** S-32: absent, null and [] mean every protocol and port. */
function parsePorts(raw: unknown, field: string, problems: FieldProblem[]): Rule['ports'] {
  if (!Array.isArray(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not a list: the rule allows nothing` });
    return [];
  }
  if (raw.length === 0) return 'any';
  return raw.flatMap((entry: unknown, index) => parsePort(entry, `${field}[${index}]`, problems) ?? []);
}

function parsePort(raw: unknown, field: string, problems: FieldProblem[]): PortMatch | undefined {
  if (!isRecord(raw)) return matchesNothing(field, `is ${quote(raw)}, not a port entry`, problems);
  const [unknown] = unknownFields(raw, ['protocol', 'port', 'endPort'], field);
  if (unknown) return matchesNothing(unknown.field, unknown.message, problems);
  // S-34: absent means TCP.
  const protocol = raw.protocol ?? 'TCP';
  if (!isProtocol(protocol)) {
    return matchesNothing(`${field}.protocol`, `is ${quote(protocol)}, not TCP, UDP or SCTP`, problems);
  }
  const port = raw.port ?? undefined;
  if (typeof port === 'number') return parseRange(protocol, port, raw.endPort ?? port, field, problems);
  // S-37: read without its endPort, the entry would allow more than the range that was asked for.
  if (raw.endPort !== undefined && raw.endPort !== null) {
    return matchesNothing(`${field}.endPort`, 'needs a numeric port', problems);
  }
  if (port === undefined) return { kind: 'range', protocol, first: 0, last: MAX_PORT };
  if (typeof port !== 'string' || port === '') {
    return matchesNothing(`${field}.port`, `is ${quote(port)}, neither a number nor a name`, problems);
  }
  // S-39: a string is a name and is kept as one, but pods can only declare names with a letter in them.
  if (!/[a-z]/.test(port)) {
    problems.push({ field: `${field}.port`, message: `is the name ${quote(port)}, which no container port can have` });
  }
  return { kind: 'named', protocol, name: port };
}

/** S-36, S-37. `last` below `first` is an empty range, not a single port: that is all the two numbers say. */
function parseRange(
  protocol: Protocol,
  first: number,
  last: unknown,
  field: string,
  problems: FieldProblem[],
): PortMatch | undefined {
  if (!isPortNumber(first))
    return matchesNothing(`${field}.port`, `is ${quote(first)}, not a number in 1-${MAX_PORT}`, problems);
  if (!isPortNumber(last)) {
    return matchesNothing(`${field}.endPort`, `is ${quote(last)}, not a number in 1-${MAX_PORT}`, problems);
  }
  if (last < first) return matchesNothing(`${field}.endPort`, `is ${last}, less than port ${first}`, problems);
  return { kind: 'range', protocol, first, last };
}

function isPortNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_PORT;
}

function isProtocol(value: unknown): value is Protocol {
  return value === 'TCP' || value === 'UDP' || value === 'SCTP';
}

/** S-23: absent, null and [] mean every address. */
function parsePeers(raw: unknown, field: string, problems: FieldProblem[]): Rule['peers'] {
  if (!Array.isArray(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not a list: the rule allows nothing` });
    return [];
  }
  if (raw.length === 0) return 'any';
  return raw.map((entry: unknown, index) => {
    const found: FieldProblem[] = [];
    const peer = parsePeer(entry, `${field}[${index}]`, found);
    for (const problem of found) problems.push(problem);
    return peer ?? { kind: 'nothing', reason: `${found[0]?.field} ${found[0]?.message}` };
  });
}

/** S-16, S-24, S-25. */
function parsePeer(raw: unknown, field: string, problems: FieldProblem[]): Peer | undefined {
  if (!isRecord(raw)) return matchesNothing(field, `is ${quote(raw)}, not a peer`, problems);
  const [unknown] = unknownFields(raw, ['podSelector', 'namespaceSelector', 'ipBlock'], field);
  if (unknown) return matchesNothing(unknown.field, unknown.message, problems);
  const podSelector = raw.podSelector ?? undefined;
  const namespaceSelector = raw.namespaceSelector ?? undefined;
  const ipBlock = raw.ipBlock ?? undefined;
  const hasSelectors = podSelector !== undefined || namespaceSelector !== undefined;
  if (ipBlock !== undefined) {
    if (hasSelectors) return matchesNothing(field, 'has both an ipBlock and a selector', problems);
    return parseIpBlock(ipBlock, `${field}.ipBlock`, problems);
  }
  if (!hasSelectors) return matchesNothing(field, 'has no podSelector, namespaceSelector or ipBlock', problems);
  const namespaces = parsePeerSelector(namespaceSelector, `${field}.namespaceSelector`, problems) ?? 'own';
  const pods = parsePeerSelector(podSelector, `${field}.podSelector`, problems) ?? EVERYTHING;
  return problems.length === 0 ? { kind: 'pods', namespaces, pods } : undefined;
}

function parsePeerSelector(raw: unknown, field: string, problems: FieldProblem[]): Selector | undefined {
  if (raw === undefined) return undefined;
  const { selector, problems: found } = parseSelector(raw, field);
  for (const problem of found) matchesNothing(problem.field, problem.message, problems);
  return selector;
}

/** S-28, S-29, S-31. An exception that cannot be read makes the whole block unusable: without it the block allows too much. */
function parseIpBlock(raw: unknown, field: string, problems: FieldProblem[]): Peer | undefined {
  if (!isRecord(raw)) return matchesNothing(field, `is ${quote(raw)}, not an ipBlock`, problems);
  const [unknown] = unknownFields(raw, ['cidr', 'except'], field);
  if (unknown) return matchesNothing(unknown.field, unknown.message, problems);
  const cidr = readCidr(raw.cidr);
  if (!cidr) return matchesNothing(`${field}.cidr`, `is ${quote(raw.cidr)}, not a CIDR`, problems);
  const rawExcept = raw.except ?? [];
  if (!Array.isArray(rawExcept)) {
    return matchesNothing(`${field}.except`, `is ${quote(rawExcept)}, not a list`, problems);
  }
  const except: Cidr[] = [];
  for (const [index, entry] of rawExcept.entries()) {
    const hole = readCidr(entry);
    if (!hole) return matchesNothing(`${field}.except[${index}]`, `is ${quote(entry)}, not a CIDR`, problems);
    checkExcept(cidr, hole, `${field}.except[${index}]`, problems);
    // No address of the block is in a CIDR of the other family: nothing to exclude.
    if (hole.family === cidr.family) except.push(hole);
  }
  return { kind: 'ip-block', cidr, except };
}

/** S-48: the API takes only strict subsets. Others have a clear meaning all the same, though hardly the intended one. */
function checkExcept(cidr: Cidr, hole: Cidr, field: string, problems: FieldProblem[]): void {
  if (cidrCovers(hole, cidr)) problems.push({ field, message: 'covers the whole cidr: the entry matches nothing' });
  else if (!cidrCovers(cidr, hole)) problems.push({ field, message: 'is not inside cidr: it excludes nothing' });
}

function readCidr(raw: unknown): Cidr | undefined {
  return typeof raw === 'string' ? parseCidr(raw) : undefined;
}
