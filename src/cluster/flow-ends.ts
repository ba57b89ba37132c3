/** What people write as one end of a flow -> the addresses it stands for, with the pod or node behind each. */
import type { Family } from '../core/vocabulary.ts';
import type { Pod, Selector } from '../policy/model.ts';
import type { Inventory, Service } from './inventory.ts';

import { canonicalAddress, familyOf, parseAddress } from '../net/ip.ts';
import { cidrContains } from '../net/cidr.ts';
import { addressOwners, isEligible } from '../policy/address-owners.ts';
import { objectKey } from '../policy/model.ts';
import { matches, parseSelector } from '../policy/selector.ts';

export interface FlowEnd {
  /** `shop/db-0`, `node/node-1`, `203.0.113.7`. */
  readonly name: string;
  readonly pod?: Pod;
  /** It is in the host network of that node, and judged as the node. */
  readonly node?: string;
  /** At most one of each family. */
  readonly addresses: Readonly<Partial<Record<Family, string>>>;
}

export interface ResolvedEnds {
  readonly ends: readonly FlowEnd[];
  /** Where a Service was named: what to ask about are its ports. */
  readonly service?: Service;
  readonly notes: readonly string[];
}

export type EndResolution = ResolvedEnds | { readonly problem: string };

const KINDS: Readonly<Record<string, string>> = {
  po: 'Pod',
  pod: 'Pod',
  pods: 'Pod',
  svc: 'Service',
  service: 'Service',
  services: 'Service',
  no: 'Node',
  node: 'Node',
  nodes: 'Node',
  deploy: 'Deployment',
  deployment: 'Deployment',
  deployments: 'Deployment',
  sts: 'StatefulSet',
  statefulset: 'StatefulSet',
  statefulsets: 'StatefulSet',
  ds: 'DaemonSet',
  daemonset: 'DaemonSet',
  daemonsets: 'DaemonSet',
  rs: 'ReplicaSet',
  replicaset: 'ReplicaSet',
  replicasets: 'ReplicaSet',
  rc: 'ReplicationController',
  replicationcontroller: 'ReplicationController',
  job: 'Job',
  jobs: 'Job',
  cj: 'CronJob',
  cronjob: 'CronJob',
  cronjobs: 'CronJob',
};

export const END_FORMS =
  '[NAMESPACE/]POD, [NAMESPACE/]KIND/NAME (a workload or Service), [NAMESPACE/]LABEL=VALUE, node/NAME, an IP address or external';

/** `side`: a Service can be reached and sends nothing. */
export function resolveEnd(
  text: string,
  side: 'source' | 'destination',
  inventory: Inventory,
  defaultNamespace: string,
): EndResolution {
  if (text === 'external') return external(inventory);
  const address = canonicalAddress(text);
  if (address !== undefined) return { ends: [endAt(address, inventory)], notes: [] };
  const parts = text.split('/');
  if (isSelector(text)) return bySelector(text, inventory, defaultNamespace);
  if (parts.length > 3 || parts.some((part) => part === '')) return { problem: `is none of ${END_FORMS}` };
  const [first = '', second, third] = parts;
  if (third !== undefined) return byKind(first, second!, third, side, inventory);
  if (second !== undefined && Object.hasOwn(KINDS, first))
    return byKind(defaultNamespace, first, second, side, inventory);
  return second === undefined ? podNamed(defaultNamespace, first, inventory) : podNamed(first, second, inventory);
}

function byKind(
  namespace: string,
  word: string,
  name: string,
  side: 'source' | 'destination',
  inventory: Inventory,
): EndResolution {
  const kind = Object.hasOwn(KINDS, word) ? KINDS[word] : undefined;
  switch (kind) {
    case undefined:
      return { problem: `names no kind that can be an end: ${word}; an end is ${END_FORMS}` };
    case 'Pod':
      return podNamed(namespace, name, inventory);
    case 'Node':
      return nodeNamed(name, inventory);
    case 'Service':
      return side === 'source'
        ? { problem: 'a Service sends nothing: name the pods or the workload that does' }
        : serviceNamed(namespace, name, inventory);
    default: {
      const found = inventory.workloads.find(
        (each) => each.kind === kind && each.namespace === namespace && each.name === name,
      );
      const known = inventory.workloads
        .filter((each) => each.kind === kind)
        .map((each) => `${each.namespace}/${each.name}`);
      if (!found) return { problem: missing(kind, `${namespace}/${name}`, known) };
      return ofPods(found.pods, `${kind} ${namespace}/${name}`, inventory);
    }
  }
}

function podNamed(namespace: string, name: string, inventory: Inventory): EndResolution {
  const { pods, namespaces } = inventory.snapshot;
  const pod = pods.get(`${namespace}/${name}`);
  if (pod) return ofPods([pod], `pod ${objectKey(pod)}`, inventory);
  if (!namespaces.has(namespace)) return { problem: missing('namespace', namespace, [...namespaces.keys()]) };
  return { problem: missing('pod', `${namespace}/${name}`, [...pods.keys()]) };
}

function nodeNamed(name: string, { snapshot }: Inventory): EndResolution {
  const node = snapshot.nodes.get(name);
  if (!node) return { problem: missing('node', name, [...snapshot.nodes.keys()]) };
  if (node.addresses.length === 0) return { problem: `node ${name} has no address in what was given` };
  return { ends: [{ name: `node/${name}`, node: name, addresses: byFamily(node.addresses) }], notes: [] };
}

function serviceNamed(namespace: string, name: string, inventory: Inventory): EndResolution {
  const known = inventory.services.map((each) => `${each.namespace}/${each.name}`);
  const service = inventory.services.find((each) => each.namespace === namespace && each.name === name);
  if (!service) return { problem: missing('Service', `${namespace}/${name}`, known) };
  if (!service.backends)
    return { problem: `Service ${namespace}/${name} has no selector: name its backends by their addresses` };
  const resolved = ofPods(service.backends, `Service ${namespace}/${name}`, inventory);
  return 'problem' in resolved ? resolved : { ...resolved, service };
}

function ofPods(pods: readonly Pod[], whose: string, { snapshot }: Inventory): EndResolution {
  const notes: string[] = [];
  const ends = pods.flatMap((pod): FlowEnd[] => {
    const name = objectKey(pod);
    if (pod.hostNetwork) {
      const node = pod.nodeName === undefined ? undefined : snapshot.nodes.get(pod.nodeName);
      const addresses = node?.addresses.length ? node.addresses : pod.addresses;
      notes.push(`${name} is in the host network: it is judged as its node, and policies do not apply to it (S-64)`);
      return addresses.length === 0
        ? []
        : [{ name, ...(pod.nodeName === undefined ? {} : { node: pod.nodeName }), addresses: byFamily(addresses) }];
    }
    if (isEligible(pod)) return [{ name, pod, addresses: byFamily(pod.addresses) }];
    notes.push(`${name} has finished or has no address: it is left out (S-70, S-71)`);
    return [];
  });
  if (ends.length > 0) return { ends, notes };
  return { problem: `${whose} has no pod that can send or receive${notes.length > 0 ? `: ${notes.join('; ')}` : ''}` };
}

// ------------------------------------------------------------------------------------------------------------ selectors

function isSelector(text: string): boolean {
  return /[=!]|\bin \(/.test(text);
}

/** `app=web,tier!=db`, `ns/app=web`. Keys may hold a slash, so a namespace is what ends at the first one and is none of a key. */
function bySelector(text: string, inventory: Inventory, defaultNamespace: string): EndResolution {
  const { namespaces, pods } = inventory.snapshot;
  const at = text.indexOf('/');
  const head = at < 0 ? '' : text.slice(0, at);
  const isNamespace = at >= 0 && !/[=!,]/.test(head) && namespaces.has(head);
  const namespace = isNamespace ? head : defaultNamespace;
  const selector = readSelector(isNamespace ? text.slice(at + 1) : text);
  if (typeof selector === 'string') return { problem: selector };
  const found = [...pods.values()].filter((pod) => pod.namespace === namespace && matches(selector, pod.labels));
  if (found.length === 0) return { problem: `no pod of namespace ${namespace} matches it` };
  return ofPods(found, `selector ${text}`, inventory);
}

function readSelector(text: string): Selector | string {
  const matchExpressions = [];
  for (const term of text.split(',')) {
    const equality = /^([^=!]+?)\s*(==|=|!=)\s*(.*)$/.exec(term.trim());
    const existence = /^(!?)([^=!]+)$/.exec(term.trim());
    if (equality) {
      const [, key, operator, value] = equality;
      matchExpressions.push({ key, operator: operator === '!=' ? 'NotIn' : 'In', values: [value] });
    } else if (existence)
      matchExpressions.push({ key: existence[2], operator: existence[1] ? 'DoesNotExist' : 'Exists' });
    else return `${term} is no term of a label selector: KEY=VALUE, KEY!=VALUE, KEY or !KEY`;
  }
  const { selector, problems } = parseSelector({ matchExpressions }, 'selector');
  return problems[0] ? problems[0].message : selector;
}

// ------------------------------------------------------------------------------------------------------------ addresses

function endAt(address: string, { snapshot }: Inventory): FlowEnd {
  const addresses = byFamily([address]);
  const pod = addressOwners(snapshot.pods.values()).get(address);
  if (pod) return { name: `${address} (${objectKey(pod)})`, pod, addresses };
  const node = [...snapshot.nodes.values()].find((each) => each.addresses.includes(address));
  return node ? { name: `${address} (node/${node.name})`, node: node.name, addresses } : { name: address, addresses };
}

/** For documentation (RFC 5737, RFC 3849), so that nobody's policies are likely to name them. */
const OUTSIDE = {
  4: ['203.0.113.1', '198.51.100.1', '192.0.2.1'],
  6: ['2001:db8:0:113::1', '2001:db8:0:51::1', '2001:db8::1'],
} as const satisfies Record<Family, readonly string[]>;

/** An address that nobody has, in as few blocks of policies as can be. */
function external({ snapshot }: Inventory): EndResolution {
  const blocks = [...snapshot.policies.values()].flatMap(({ ingress, egress }) =>
    [...ingress, ...egress].flatMap(({ peers }) => (peers === 'any' ? [] : peers.flatMap(blockOf))),
  );
  const countAt = (address: string): number =>
    blocks.filter((cidr) => cidrContains(cidr, parseAddress(address)!)).length;
  const best = (family: Family): string =>
    OUTSIDE[family].reduce((one, other) => (countAt(other) < countAt(one) ? other : one));
  const four = best(4);
  const narrow = blocks.filter(({ prefixLength }) => prefixLength > 0).length;
  const note = `external stands for ${four}, an address outside of the cluster${narrow > 0 ? '; policies name blocks of addresses: ask about one of those by itself' : ''}`;
  return { ends: [{ name: `external (${four})`, addresses: { 4: four, 6: best(6) } }], notes: [note] };
}

function blockOf(peer: { readonly kind: string; readonly cidr?: unknown }) {
  return peer.kind === 'ip-block' ? [peer.cidr as Parameters<typeof cidrContains>[0]] : [];
}

function byFamily(addresses: readonly string[]): FlowEnd['addresses'] {
  const found: Partial<Record<Family, string>> = {};
  for (const address of addresses) found[familyOf(address)] ??= address;
  return found;
}

// ---------------------------------------------------------------------------------------------------------------- words

const MAX_NAMED = 5;

/** Names what is there, the likeliest first. */
function missing(kind: string, name: string, known: readonly string[]): string {
  const near = known
    .map((each) => ({ each, far: distance(each, name) }))
    .sort((a, b) => a.far - b.far || (a.each < b.each ? -1 : 1));
  const [first] = near;
  const said = `there is no ${kind} ${name}`;
  if (!first) return `${said}, nor any other`;
  if (first.far <= 2) return `${said}; did you mean ${first.each}?`;
  const more = known.length - MAX_NAMED;
  return `${said}; there are ${near
    .slice(0, MAX_NAMED)
    .map(({ each }) => each)
    .join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** Letters to write, leave out, replace or exchange with the next: Damerau's distance, of optimal string alignment. */
function distance(one: string, other: string): number {
  let before: number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let at = 0; at < one.length; at++) {
    const next = [at + 1];
    for (let to = 0; to < other.length; to++) {
      const changed = row[to]! + (one[at] === other[to] ? 0 : 1);
      const isExchange = at > 0 && to > 0 && one[at] === other[to - 1] && one[at - 1] === other[to];
      next.push(Math.min(next[to]! + 1, row[to + 1]! + 1, changed, isExchange ? before[to - 1]! + 1 : changed));
    }
    [before, row] = [row, next];
  }
  return row.at(-1)!;
}
