/**
 * The smallest change of policies that lets a denied flow pass in one direction: something added to the rule that comes nearest, or a rule
 * to a policy that has none. Whatever is proposed was judged by the evaluator with the change made.
 */
import type { Direction } from '../core/vocabulary.ts';
import type { PolicyReason } from './explain-denial.ts';
import type { Peer, Pod, Policy, PolicyRef, PortMatch, Rule, Selector } from './model.ts';

import { PROTOCOLS, PROTOCOL_NUMBER } from '../core/vocabulary.ts';
import { ADDRESS_BITS, formatAddress, parseAddress } from '../net/ip.ts';
import { parseCidr } from '../net/cidr.ts';
import { identityLabels } from './lasting-labels.ts';
import type { Connection } from './connection.ts';
import { isolationsOf, judgeDirection, letsPass, type PolicyWorld } from './evaluate.ts';
import { EVERYTHING, NAMESPACE_NAME_LABEL, objectKey } from './model.ts';

/** Parts of a policy as people write them. */
export type Remedy =
  | {
      readonly kind: 'add';
      readonly policy: PolicyRef;
      /** The list that gets one entry more: `spec.ingress`, `spec.ingress[0].from`, `spec.egress[1].ports`. */
      readonly field: string;
      readonly entry: Written;
    }
  /** Every policy that isolates the pod is for all pods of its namespace, and none has a rule that lacks just one thing. */
  | { readonly kind: 'new-policy'; readonly manifest: Written };

type Written = Readonly<Record<string, unknown>>;

/** `policies`: of the explanation of that direction. Undefined: no addition helps, or the flow is not denied there. */
export function remedyFor(
  world: PolicyWorld,
  direction: Direction,
  connection: Connection,
  policies: readonly PolicyReason[],
): Remedy | undefined {
  if (policies.length === 0) return undefined;
  const changes = policies.flatMap(({ policy: ref, reason }): Change[] => {
    const policy = world.policies.get(objectKey(ref));
    return policy ? changesOf(policy, reason, direction, connection) : [];
  });
  const subject = isolationsOf(world, direction, connection)[0]?.subject;
  if (subject) changes.push(newPolicyFor(subject, direction, connection, world));
  for (const { policy, remedy } of changes.toSorted((a, b) => a.cost - b.cost)) {
    const changed = new Map(world.policies).set(objectKey(policy), policy);
    if (letsPass(judgeDirection({ ...world, policies: changed }, direction, connection))) return remedy;
  }
  return undefined;
}

/** What a change gives to others than the pod and the flow it is for: nothing, or the less the better. */
const COST = { amendRule: 0, addRule: 1, newPolicy: 2, addRuleForAll: 3 } as const;

interface Change {
  readonly cost: number;
  /** As it will be. */
  readonly policy: Policy;
  readonly remedy: Remedy;
}

function changesOf(
  policy: Policy,
  reason: PolicyReason['reason'],
  direction: Direction,
  connection: Connection,
): Change[] {
  if (reason.kind !== 'rule' && reason.kind !== 'no-rules') return [];
  const { namespace, name } = policy;
  const rules = policy[direction];
  const change = (cost: number, changed: readonly Rule[], field: string, entry: Written): Change => ({
    cost,
    policy: withRules(policy, direction, changed),
    remedy: { kind: 'add', policy: { namespace, name }, field, entry },
  });
  const [failed, ...more] = reason.kind === 'rule' ? reason.failed : [];
  const rule = reason.kind === 'rule' && more.length === 0 ? rules[reason.index] : undefined;
  if (failed && rule && reason.kind === 'rule') {
    const at = `spec.${direction}[${reason.index}]`;
    const port = portOf(connection);
    if (failed.kind === 'peers' && rule.peers !== 'any') {
      const { value, entry } = peerOf(policy, direction, connection);
      const changed = rules.with(reason.index, { ...rule, peers: [...rule.peers, value] });
      return [change(COST.amendRule, changed, `${at}.${OTHER_END[direction]}`, entry)];
    }
    if (port && failed.kind === 'ports' && rule.ports !== 'any') {
      const changed = rules.with(reason.index, { ...rule, ports: [...rule.ports, port.value] });
      return [change(COST.amendRule, changed, `${at}.ports`, port.entry)];
    }
  }
  const isForAll = policy.podSelector.kind === 'all-of' && policy.podSelector.requirements.length === 0;
  const { value, entry } = ruleFor(policy, direction, connection);
  return [change(isForAll ? COST.addRuleForAll : COST.addRule, [...rules, value], `spec.${direction}`, entry)];
}

const OTHER_END = { ingress: 'from', egress: 'to' } as const satisfies Record<Direction, string>;

/** Lets this flow pass and little else. */
function ruleFor(policy: PolicyRef, direction: Direction, connection: Connection): Entry<Rule> {
  const [port, peer] = [portOf(connection), peerOf(policy, direction, connection)];
  return {
    value: { peers: [peer.value], ports: port ? [port.value] : 'any' },
    entry: { [OTHER_END[direction]]: [peer.entry], ...(port ? { ports: [port.entry] } : {}) },
  };
}

function newPolicyFor(subject: Pod, direction: Direction, connection: Connection, world: PolicyWorld): Change {
  const { namespace } = subject;
  const isTaken = (each: string): boolean => world.policies.has(`${namespace}/${each}`);
  const name = freeName(`allow-${direction}-${subject.name}`, isTaken);
  const { value, entry } = ruleFor({ namespace, name }, direction, connection);
  const { selector, written } = selectorOf(subject);
  const isIngress = direction === 'ingress';
  const manifest = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name },
    spec: { podSelector: written, policyTypes: [isIngress ? 'Ingress' : 'Egress'], [direction]: [entry] },
  };
  const policy: Policy = {
    namespace,
    name,
    uid: '',
    podSelector: selector,
    isolates: { ingress: isIngress, egress: !isIngress },
    ingress: isIngress ? [value] : [],
    egress: isIngress ? [] : [value],
  };
  return { cost: COST.newPolicy, policy, remedy: { kind: 'new-policy', manifest } };
}

function freeName(wanted: string, isTaken: (name: string) => boolean): string {
  let name = wanted;
  for (let count = 2; isTaken(name); count++) name = `${wanted}-${count}`;
  return name;
}

/** Rules may be kept as text, behind getters: a copy must not read them. */
function withRules(policy: Policy, direction: Direction, rules: readonly Rule[]): Policy {
  const { namespace, name, uid, podSelector, isolates } = policy;
  const other = direction === 'ingress' ? { egress: policy.egress } : { ingress: policy.ingress };
  const changed = direction === 'ingress' ? { ingress: rules } : { egress: rules };
  return { namespace, name, uid, podSelector, isolates, ...other, ...changed } as Policy;
}

interface Entry<T> {
  readonly value: T;
  readonly entry: Written;
}

/** Undefined: no policy can name the protocol (S-66). */
function portOf({ flow: { protocol: number, port } }: Connection): Entry<PortMatch> | undefined {
  const protocol = PROTOCOLS.find((each) => PROTOCOL_NUMBER[each] === number);
  if (!protocol) return undefined;
  // Policies name no port 0, but all ports of a protocol (S-34).
  if (port === 0) return { value: { kind: 'range', protocol, first: 0, last: 65_535 }, entry: { protocol } };
  return { value: { kind: 'range', protocol, first: port, last: port }, entry: { protocol, port } };
}

function peerOf(policy: PolicyRef, direction: Direction, connection: Connection): Entry<Peer> {
  const pod = direction === 'ingress' ? connection.sourcePod : connection.destinationPod;
  const address = direction === 'ingress' ? connection.flow.source : connection.flow.destination;
  if (!pod) {
    const parsed = parseAddress(address)!;
    const text = `${formatAddress(parsed)}/${ADDRESS_BITS[parsed.family]}`;
    return { value: { kind: 'ip-block', cidr: parseCidr(text)!, except: [] }, entry: { ipBlock: { cidr: text } } };
  }
  const { selector: pods, written: podSelector } = selectorOf(pod);
  if (pod.namespace === policy.namespace)
    return { value: { kind: 'pods', namespaces: 'own', pods }, entry: { podSelector } };
  const key = NAMESPACE_NAME_LABEL;
  const namespaces = {
    kind: 'all-of',
    requirements: [{ key, operator: 'In', values: [pod.namespace] }],
  } as const;
  return {
    value: { kind: 'pods', namespaces, pods },
    entry: { namespaceSelector: { matchLabels: { [key]: pod.namespace } }, podSelector },
  };
}

/** Selects the pod, and those that are as it is. */
function selectorOf(pod: Pod): { readonly selector: Selector; readonly written: Written } {
  const labels = identityLabels(pod.labels);
  const requirements = Object.entries(labels).map(
    ([key, value]) => ({ key, operator: 'In', values: [value] }) as const,
  );
  return requirements.length === 0
    ? { selector: EVERYTHING, written: {} }
    : { selector: { kind: 'all-of', requirements }, written: { matchLabels: labels } };
}
