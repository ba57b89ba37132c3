/** Valid objects by which users of a namespace fill memory: large, and of no use to any pod of the measured node. */
import type { ObjectKind } from '../src/core/vocabulary.ts';
import { podObject, runningStatus } from '../test/support/api-objects.ts';
import { policyObject } from '../test/support/builders.ts';
import type { RawObject } from './cluster-model.ts';

export interface HostileKind {
  readonly what: string;
  readonly resource: ObjectKind;
  /** Of all bytes. */
  readonly part: number;
  /** The `n`-th object; `n` may be any number. */
  readonly make: (n: number) => RawObject;
}

export const HOSTILE_KINDS: readonly HostileKind[] = [
  policies('long policies of a few namespaces', 0.3, 1_000_000, (n) => `evil-long-${n % 12}`),
  policies('policies over the limit of one', 0.1, 1_400_000, (n) => `evil-single-${n % 40}`),
  policies('middling policies', 0.1, 20_000, (n) => `evil-middling-${n % 4}`),
  policies('short policies', 0.1, 500, (n) => `evil-short-${n % 3}`),
  {
    what: 'policies of empty rules',
    resource: 'networkpolicies',
    part: 0.1,
    make: (n) => policy(n, 'evil-empty', Array<object>(300_000).fill({})),
  },
  {
    what: 'pods that wait, with 9,000 labels',
    resource: 'pods',
    part: 0.15,
    make: (n) => pod('waiting', n, 9_000, { phase: 'Pending' }),
  },
  {
    what: 'pods that run, with 9,000 labels',
    resource: 'pods',
    part: 0.05,
    make: (n) => pod('running', n, 9_000, runningStatus(address(n, 200))),
  },
  {
    what: 'pods that run, with 70 labels',
    resource: 'pods',
    part: 0.1,
    make: (n) => pod('labelled', n, 70, runningStatus(address(n, 220))),
  },
];

function policies(what: string, part: number, bytes: number, namespaceOf: (n: number) => string): HostileKind {
  return {
    what,
    resource: 'networkpolicies',
    part,
    make: (n) => policy(n, namespaceOf(n), [{ from: blocks(bytes, n) }]),
  };
}

function policy(n: number, namespace: string, ingress: readonly object[]): RawObject {
  const spec = { podSelector: { matchLabels: { none: `x${n}` } }, policyTypes: ['Ingress'], ingress };
  return policyObject(`${namespace}/p${n}`, spec, metadata(namespace, n));
}

/** ipBlocks of about that many bytes of JSON, each of an address of its own. */
function blocks(bytes: number, n: number): readonly object[] {
  const each = 37;
  return Array.from({ length: Math.ceil(bytes / each) }, (_, index) => {
    return { ipBlock: { cidr: `${11 + (index % 89)}.${(index >> 6) % 256}.${n % 256}.${(index * 7) % 256}/32` } };
  });
}

function pod(what: string, n: number, labels: number, status: object): RawObject {
  const own = Array.from({ length: labels }, (_, index) => [
    `key-${n}-${index}`.padEnd(60, 'x'),
    `${index}`.padEnd(50, 'y'),
  ]);
  const namespace = `evil-${what}`;
  const labelled = { labels: Object.fromEntries(own), metadata: metadata(namespace, n) };
  return { ...podObject(`${namespace}/p${n}`, { ...labelled, spec: { nodeName: 'node-of-evil' } }), status };
}

function metadata(namespace: string, n: number) {
  const creationTimestamp = new Date(1_790_000_000_000 + n * 1000).toISOString();
  return { uid: `${namespace}-${n}`, resourceVersion: `${n + 1}`, creationTimestamp };
}

/** Of a range that the model of a cluster does not use. */
function address(n: number, second: number): string {
  return `100.${second + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
}
