/**
 * What is probably not meant in policies that the API server takes without a word. Each finding names the object and the field, why it
 * matters and what to write instead. What a rule means is asked of the parser, the evaluator and `covers`; nothing is decided here anew.
 */
import type { Direction } from '../core/vocabulary.ts';
import type { ClusterSnapshot, Pod, Policy, Problem, Rule, Selector } from './model.ts';

import { DIRECTIONS, PROTOCOL_NUMBER } from '../core/vocabulary.ts';
import { type Cidr, cidrContains, formatCidr } from '../net/cidr.ts';
import { parseAddress } from '../net/ip.ts';
import { addressOwners, isEligible } from './address-owners.ts';
import { policyMeaning, ruleCovers, selectorCovers } from './covers.ts';
import { connectionOf } from './connection.ts';
import { judgeDirection, letsPass, peerMatches } from './evaluate.ts';
import { NAMESPACE_NAME_LABEL } from './model.ts';
import { isRecord, type RawRecord } from './raw-values.ts';
import { matches, mayMatch } from './selector.ts';

export const LEVELS = ['error', 'warning', 'info'] as const;
export type Level = (typeof LEVELS)[number];

/** What is looked for, by name: its level, and why it matters. */
export const CHECKS = {
  unusable: [
    'error',
    'what cannot be read isolates and allows nothing, or is left out, so less is allowed than was meant',
  ],
  'rules-without-type': ['error', 'rules of a direction that policyTypes leaves out have no effect (S-13)'],
  'selects-nobody': ['warning', 'a policy that selects no pod protects none'],
  'unknown-namespace': ['warning', 'a selector by the name of a namespace that is not there matches nothing'],
  'matches-no-namespace': ['warning', 'a namespaceSelector that matches no namespace allows nobody'],
  'unknown-port-name': ['warning', 'a port name that no pod it is about declares matches nothing (S-43)'],
  'alternative-peers': ['warning', 'entries of from or to are alternatives: each of them is enough (S-23)'],
  'no-dns': ['warning', 'pods that may not ask DNS resolve no name'],
  duplicate: ['warning', 'two policies that say the same have to be changed together'],
  shadowed: ['warning', 'a rule whose flows another rule lets through anyway changes nothing when it is removed'],
  'host-bits': ['warning', 'bits behind the prefix length are ignored (S-29): the block may be another than was meant'],
  'block-holds-pods': ['warning', 'addresses of pods come and go: a block also lets through whoever gets them next'],
  'block-holds-service': [
    'warning',
    'policies see the address behind a Service, never its own (S-51): such a block matches no packet',
  ],
  'whole-internet': ['info', 'all addresses include every pod and node of the cluster'],
  'unsupported-field': [
    'error',
    'what this agent does not support matches nothing in an Accept rule, and makes a Deny or Pass rule deny everything (N-90)',
  ],
  'other-api-group': ['error', 'objects of another API group are read by nobody here: nothing of them is in force'],
  'matches-nothing': ['warning', 'a selector whose terms contradict each other matches nothing'],
  'equal-priority': ['warning', 'which of two policies of one tier and priority is asked first is not defined (N-67)'],
  'never-reached': [
    'warning',
    'the first rule that matches decides (N-61): one behind rules that match all it does has no effect',
  ],
  'pass-in-baseline': ['warning', 'behind tier Baseline there is no other: Pass there allows, as Accept does (N-63)'],
  'denies-dns': [
    'warning',
    'pods that may not ask DNS resolve no name, and no NetworkPolicy gives back what tier Admin denies',
  ],
  'denies-system': [
    'warning',
    'what is denied to pods of kube-system, DNS and metrics among them, is missing everywhere',
  ],
  'experimental-peer': [
    'info',
    'the standard channel of the CRD has no such peer: the API server refuses the policy there (N-2)',
  ],
  'allows-everything': ['info', 'a rule without peers and ports lets everything through, whatever other rules say'],
} as const satisfies Record<string, readonly [level: Level, why: string]>;

export type CheckName = keyof typeof CHECKS;
export const CHECK_NAMES = Object.keys(CHECKS) as CheckName[];

/** The annotation that suppresses findings of an object: names of checks with commas between, or `all`. */
export const IGNORE_ANNOTATION = 'portcullis.dev/lint-ignore';

export type FieldPath = readonly (string | number)[];

export interface Finding {
  readonly check: CheckName;
  readonly object: Problem['object'];
  readonly path: FieldPath;
  readonly message: string;
  /** What to do. */
  readonly fix: string;
}

/** One policy, as it was written and as it was read. */
export interface WrittenPolicy {
  readonly raw: RawRecord;
  readonly policy: Policy;
  readonly problems: readonly Problem[];
}

export interface LintWorld {
  readonly snapshot: ClusterSnapshot;
  /** Cluster addresses of Services -> `namespace/name`. */
  readonly serviceAddresses: ReadonlyMap<string, string>;
  /** Which CRD of cluster-wide policies serves them; undefined: not known. */
  readonly channel?: 'standard' | 'experimental';
  /** Whether all namespaces and pods of the cluster are there; else nothing is said of what is missing. */
  readonly isWhole: boolean;
}

export function lintPolicies(policies: readonly WrittenPolicy[], world: LintWorld): readonly Finding[] {
  const all = [
    ...policies.flatMap((each) => lintOne(each, world)),
    ...duplicates(policies.map(({ policy }) => policy)),
    ...shadowedRules(policies.map(({ policy }) => policy)),
    ...withoutDns(
      policies.map(({ policy }) => policy),
      world,
    ),
  ];
  const rawOf = new Map(policies.map(({ raw, policy }) => [`${policy.namespace}/${policy.name}`, raw]));
  return all.filter(({ object, check }) => !isIgnored(rawOf.get(`${object.namespace}/${object.name}`), check));
}

export function isIgnored(raw: RawRecord | undefined, check: CheckName): boolean {
  const metadata = isRecord(raw?.metadata) ? raw.metadata : {};
  const annotation = isRecord(metadata.annotations) ? metadata.annotations[IGNORE_ANNOTATION] : undefined;
  if (typeof annotation !== 'string') return false;
  return annotation.split(',').some((name) => name.trim() === check || name.trim() === 'all');
}

export type Report = (check: CheckName, path: FieldPath, message: string, fix: string) => void;

function lintOne({ raw, policy, problems }: WrittenPolicy, world: LintWorld): Finding[] {
  const findings: Finding[] = [];
  const report: Report = (check, path, message, fix) => {
    findings.push({ check, object: objectOf(policy), path, message, fix });
  };
  for (const { field, message } of problems)
    report('unusable', pathOf(field), message, 'write the field as the API describes it');
  const spec = isRecord(raw.spec) ? raw.spec : {};
  typesAndRules(spec, policy, report);
  subject(policy, world, report);
  for (const direction of DIRECTIONS) {
    for (const [index, rule] of policy[direction].entries()) {
      const at = ['spec', direction, index];
      const written = listAt(spec, direction)[index];
      ports(rule, policy, direction, at, world, report);
      peers(isRecord(written) ? written : {}, rule, direction, at, world, report);
      if (rule.peers === 'any' && rule.ports === 'any')
        report(
          'allows-everything',
          at,
          `lets all ${direction} through`,
          "name peers or ports, or say by the policy's name that this is meant",
        );
    }
  }
  return findings;
}

function objectOf({ namespace, name }: Policy): Finding['object'] {
  return { kind: 'NetworkPolicy', namespace, name };
}

function typesAndRules(spec: RawRecord, policy: Policy, report: Report): void {
  for (const direction of DIRECTIONS) {
    if (policy.isolates[direction] || listAt(spec, direction).length === 0) continue;
    const type = direction === 'ingress' ? 'Ingress' : 'Egress';
    report(
      'rules-without-type',
      ['spec', direction],
      `has ${direction} rules, but policyTypes does not name ${type}: they are not in effect`,
      `add ${type} to spec.policyTypes, or take the rules out`,
    );
  }
}

function subject(policy: Policy, { snapshot, isWhole }: LintWorld, report: Report): void {
  const { namespace, podSelector } = policy;
  if (isWhole && !snapshot.namespaces.has(namespace)) {
    report(
      'unknown-namespace',
      ['metadata', 'namespace'],
      `namespace ${namespace} is not there`,
      'create it, or correct the name',
    );
    return;
  }
  const inNamespace = [...snapshot.pods.values()].filter((pod) => pod.namespace === namespace && !pod.hostNetwork);
  if (inNamespace.length === 0 && !isWhole) return;
  if (inNamespace.some((pod) => mayMatch(podSelector, pod.labels))) return;
  report(
    'selects-nobody',
    ['spec', 'podSelector'],
    inNamespace.length === 0
      ? `namespace ${namespace} has no pod`
      : `selects none of the ${inNamespace.length} pods of ${namespace}`,
    'use labels that the pods have (of the pod template, not of the Deployment)',
  );
}

// ---------------------------------------------------------------------------------------------------------------- ports

function ports(
  rule: Rule,
  policy: Policy,
  direction: Direction,
  at: FieldPath,
  { snapshot }: LintWorld,
  report: Report,
): void {
  if (rule.ports === 'any') return;
  const all = [...snapshot.pods.values()].filter(isEligible);
  const destinations =
    direction === 'ingress'
      ? all.filter((pod) => pod.namespace === policy.namespace && mayMatch(policy.podSelector, pod.labels))
      : all.filter((pod) => isPeer(pod, rule, policy, snapshot));
  if (destinations.length === 0) return;
  for (const port of rule.ports) {
    if (port.kind !== 'named') continue;
    const has = (pod: Pod): boolean =>
      pod.namedPorts.some((each) => each.name === port.name && each.protocol === port.protocol);
    if (destinations.some(has)) continue;
    report(
      'unknown-port-name',
      [...at, 'ports'],
      `no pod that ${direction === 'ingress' ? 'it selects' : 'the rule is about'} has a ${port.protocol} port named ${port.name}`,
      'declare the port with that name on a container, or use its number',
    );
  }
}

function isPeer(pod: Pod, { peers: list }: Rule, policy: Policy, snapshot: ClusterSnapshot): boolean {
  if (list === 'any') return true;
  const end = { pod, address: parseAddress(pod.addresses[0]!)! };
  return list.some((peer) => peer.kind === 'pods' && peerMatches(snapshot, peer, policy, end));
}

// ---------------------------------------------------------------------------------------------------------------- peers

function peers(
  written: RawRecord,
  rule: Rule,
  direction: Direction,
  at: FieldPath,
  world: LintWorld,
  report: Report,
): void {
  if (rule.peers === 'any') return;
  const field = direction === 'ingress' ? 'from' : 'to';
  const list = listAt(written, field);
  alternatives(list, [...at, field], report);
  for (const [index, peer] of rule.peers.entries()) {
    const path = [...at, field, index];
    if (peer.kind === 'pods' && peer.namespaces !== 'own')
      namespaceSelector(peer.namespaces, [...path, 'namespaceSelector'], world, report);
    if (peer.kind !== 'ip-block') continue;
    const raw = list[index];
    const text = isRecord(raw) && isRecord(raw.ipBlock) ? raw.ipBlock.cidr : undefined;
    ipBlock(typeof text === 'string' ? text : '', peer, [...path, 'ipBlock', 'cidr'], world, report);
  }
}

/** `- namespaceSelector` and `- podSelector` as two entries, where one with both was meant. */
function alternatives(list: readonly unknown[], path: FieldPath, report: Report): void {
  for (const [index, entry] of list.entries()) {
    const next = list[index + 1];
    if (!isRecord(entry) || !isRecord(next)) continue;
    const keys = [entry, next].map((each) => Object.keys(each).join());
    if (keys[0] !== 'namespaceSelector' || keys[1] !== 'podSelector') continue;
    report(
      'alternative-peers',
      [...path, index + 1],
      "all pods of the namespaces of the entry before, or pods with these labels in the policy's own namespace: one of both is enough",
      'if both were meant, make it one entry: without the dash before podSelector',
    );
  }
}

export function namespaceSelector(
  selector: Selector,
  path: FieldPath,
  { snapshot, isWhole }: LintWorld,
  report: Report,
): void {
  if (!isWhole || selector.kind !== 'all-of' || selector.requirements.length === 0) return;
  const { namespaces } = snapshot;
  const named = selector.requirements.filter(({ key, operator }) => key === NAMESPACE_NAME_LABEL && operator === 'In');
  const missing = named.flatMap(({ values }) => values.filter((name) => !namespaces.has(name)));
  if (missing.length > 0) {
    report(
      'unknown-namespace',
      path,
      `namespace ${missing.join(', ')} is not there`,
      'correct the name, or create it first',
    );
    return;
  }
  if ([...namespaces.values()].some(({ labels }) => matches(selector, labels))) return;
  const keys = selector.requirements.map(({ key }) => key).join(', ');
  report(
    'matches-no-namespace',
    path,
    `no namespace has such labels (${keys})`,
    `label the namespaces, or select them by ${NAMESPACE_NAME_LABEL}`,
  );
}

type IpBlock = Exclude<Rule['peers'], 'any'>[number] & { readonly kind: 'ip-block' };

function ipBlock(text: string, { cidr, except }: IpBlock, path: FieldPath, world: LintWorld, report: Report): void {
  hostBits(text, cidr, path, report);
  const holds = (each: string): boolean => {
    const parsed = parseAddress(each);
    return parsed !== undefined && cidrContains(cidr, parsed) && !except.some((hole) => cidrContains(hole, parsed));
  };
  if (cidr.prefixLength === 0) {
    const pods = countHeld(
      [...world.snapshot.pods.values()].filter(isEligible).flatMap(({ addresses }) => addresses),
      holds,
    );
    if (pods > 0)
      report(
        'whole-internet',
        path,
        `${formatCidr(cidr)} holds ${pods} addresses of pods`,
        'if only the outside was meant, except the blocks of pods and nodes',
      );
    return;
  }
  heldServices(text, holds, path, world, report);
  const pods = [...world.snapshot.pods.values()].filter((pod) => isEligible(pod) && pod.addresses.some(holds));
  const nodes = [...world.snapshot.nodes.values()].filter(({ addresses }) => addresses.some(holds));
  if (pods.length === 0) return;
  const also = nodes.length > 0 ? ` and ${counted(nodes.length, 'node')}` : '';
  report(
    'block-holds-pods',
    path,
    `${text} holds ${counted(pods.length, 'pod')}${also}, such as ${pods[0]!.namespace}/${pods[0]!.name}`,
    'name pods by podSelector and namespaceSelector',
  );
}

export function hostBits(text: string, cidr: Cidr, path: FieldPath, report: Report): void {
  const [written = ''] = text.split('/');
  const address = parseAddress(written);
  if (!address?.words.some((word, index) => word !== cidr.words[index])) return;
  report(
    'host-bits',
    path,
    `${text} is read as ${formatCidr(cidr)}`,
    `write ${formatCidr(cidr)}, or ${written}/${address.family === 4 ? 32 : 128} for the one address`,
  );
}

export function heldServices(
  text: string,
  holds: (address: string) => boolean,
  path: FieldPath,
  { serviceAddresses }: LintWorld,
  report: Report,
): void {
  for (const [each, service] of serviceAddresses)
    if (holds(each))
      report(
        'block-holds-service',
        path,
        `${text} holds ${each}, the address of Service ${service}`,
        "name the pods behind it by labels, or the endpoints' own addresses (kubectl get endpointslices)",
      );
}

function countHeld(addresses: readonly string[], holds: (address: string) => boolean): number {
  return addresses.filter(holds).length;
}

export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

// ------------------------------------------------------------------------------------------------ policies with each other

function duplicates(policies: readonly Policy[]): Finding[] {
  const byMeaning = Map.groupBy(policies, policyMeaning);
  return [...byMeaning.values()].flatMap(([first, ...others]) =>
    others.map(
      (policy): Finding => ({
        check: 'duplicate',
        object: objectOf(policy),
        path: ['metadata', 'name'],
        message: `says the same as ${first!.namespace}/${first!.name}`,
        fix: 'delete one of them',
      }),
    ),
  );
}

/** Rules whose flows another rule lets through: of the same policy, or of one that selects at least the same pods. */
export function shadowedRules(policies: readonly Policy[]): Finding[] {
  const findings: Finding[] = [];
  const meanings = new Map(policies.map((policy) => [policy, policyMeaning(policy)]));
  for (const group of Map.groupBy(policies, ({ namespace }) => namespace).values()) {
    for (const policy of group) {
      for (const direction of DIRECTIONS) {
        for (const [index, rule] of policy[direction].entries()) {
          if (isUnusable(rule)) continue;
          const by = shadowOf(rule, index, policy, direction, group, meanings);
          if (!by) continue;
          const where =
            by.policy === policy
              ? `spec.${direction}[${by.index}]`
              : `${by.policy.name}, spec.${direction}[${by.index}],`;
          findings.push({
            check: 'shadowed',
            object: objectOf(policy),
            path: ['spec', direction, index],
            message: `${where} lets through all that this rule does`,
            fix: 'take the rule out, or make the other one narrower',
          });
        }
      }
    }
  }
  return findings;
}

/** It lets nothing through, which is told by itself. */
function isUnusable({ peers: list, ports: portList }: Rule): boolean {
  return portList.length === 0 || (list !== 'any' && list.every(({ kind }) => kind === 'nothing'));
}

function shadowOf(
  rule: Rule,
  index: number,
  policy: Policy,
  direction: Direction,
  group: readonly Policy[],
  meanings: ReadonlyMap<Policy, string>,
): { readonly policy: Policy; readonly index: number } | undefined {
  for (const other of group) {
    // Of policies that say the same the whole policy is told, not each rule.
    if (other !== policy && meanings.get(other) === meanings.get(policy)) continue;
    if (
      !isInForceWith(other, policy) ||
      !other.isolates[direction] ||
      !selectorCovers(other.podSelector, policy.podSelector)
    )
      continue;
    const isEarlier = group.indexOf(other) < group.indexOf(policy);
    const isMutual = selectorCovers(policy.podSelector, other.podSelector);
    for (const [at, each] of other[direction].entries()) {
      if ((other === policy && at === index) || !ruleCovers(each, rule)) continue;
      // Of two that cover each other the later one is told.
      const isFirst = other === policy ? at < index : isEarlier;
      if (isFirst || !isMutual || !ruleCovers(rule, each)) return { policy: other, index: at };
    }
  }
  return undefined;
}

/** Of one namespace: whether the other is enforced wherever this one is. What is only audited lets nothing through. */
function isInForceWith({ mode: other }: Policy, { mode }: Policy): boolean {
  return other === mode || other === 'enforce' || mode === 'audit';
}

/** Where the cluster's DNS is known, the evaluator says who may ask it; once for each policy. */
function withoutDns(policies: readonly Policy[], { snapshot }: LintWorld): Finding[] {
  const servers = [...snapshot.pods.values()].filter(
    (pod) => isEligible(pod) && pod.namespace === 'kube-system' && pod.labels['k8s-app'] === 'kube-dns',
  );
  const owners = addressOwners(snapshot.pods.values());
  const known = new Map<Pod, boolean>();
  const mayAsk = (pod: Pod): boolean => {
    const found = known.get(pod) ?? asks(pod);
    known.set(pod, found);
    return found;
  };
  const asks = (pod: Pod): boolean =>
    servers.length === 0
      ? policies.some((policy) => isIsolatedBy(pod, policy) && policy.egress.some((rule) => portsHold(rule, 53)))
      : servers.some((server) => {
          const flow = {
            source: pod.addresses[0]!,
            destination: server.addresses[0]!,
            protocol: PROTOCOL_NUMBER.UDP,
            port: 53,
          };
          return letsPass(judgeDirection(snapshot, 'egress', connectionOf(owners, flow)));
        });
  const findings: Finding[] = [];
  for (const policy of policies.filter(({ isolates }) => isolates.egress)) {
    const mute = [...snapshot.pods.values()].filter(
      (pod) => isEligible(pod) && isIsolatedBy(pod, policy) && !mayAsk(pod),
    );
    if (mute.length === 0) continue;
    findings.push({
      check: 'no-dns',
      object: objectOf(policy),
      path: ['spec', 'policyTypes'],
      message: `${counted(mute.length, 'pod')} that it isolates for egress may not ask DNS, such as ${mute[0]!.namespace}/${mute[0]!.name}`,
      fix: 'allow egress to the DNS pods on port 53, UDP and TCP, in this or another policy',
    });
  }
  return findings;
}

function isIsolatedBy(pod: Pod, policy: Policy): boolean {
  return policy.namespace === pod.namespace && policy.isolates.egress && mayMatch(policy.podSelector, pod.labels);
}

function portsHold({ ports: list }: Rule, port: number): boolean {
  return (
    list === 'any' ||
    list.some((each) => each.kind === 'range' && each.protocol === 'UDP' && each.first <= port && port <= each.last)
  );
}

// --------------------------------------------------------------------------------------------------------------- fields

export function listAt(record: RawRecord, key: string): readonly unknown[] {
  const list = record[key];
  return Array.isArray(list) ? list : [];
}

/** `spec.ingress[0].from[1]` -> its keys and indexes. Keys in quotes may hold anything. */
export function pathOf(field: string): FieldPath {
  const steps = field.matchAll(/\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|([^.[\]]+)/g);
  return [...steps].map(([, index, quoted, key]) => (index === undefined ? (quoted ?? key!) : Number(index)));
}

export function fieldOf(path: FieldPath): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  );
}
