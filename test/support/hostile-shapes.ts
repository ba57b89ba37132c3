/** Namespaces whose owner means harm, or errs: policies that the API takes, of any number of rules, each shape hostile in its own way. */
import type { Pod } from '../../src/policy/model.ts';
import { type PolicyObject, pod, policyObject } from './builders.ts';

export interface HostileNamespace {
  readonly policies: readonly PolicyObject[];
  /** The first is on `node-1`. */
  readonly pods: readonly Pod[];
}

/** `count`: of the rules, or of what else there is so much of. */
export type HostileShape = (count: number) => HostileNamespace;

type RuleOf = (n: number) => object;

const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, n) => n);
const port = (n: number): number => 1 + ((n * 7) % 65_000);
const block = (n: number): string => `${1 + (n % 200)}.${(n >> 8) & 255}.${n & 255}.0/24`;
const block6 = (n: number): string => `2001:db8:${n.toString(16)}::/48`;
const blockOf = (n: number): object => ({ ipBlock: { cidr: n % 4 === 3 ? block6(n) : block(n) } });
const labelled = (n: number): object => ({ podSelector: { matchLabels: { a: `v${n}` } } });

function node(name: string, address: number, fields: Partial<Pod> = {}): Pod {
  return pod(`evil/${name}`, { addresses: [`10.0.${address >> 8}.${address & 255}`], ...fields });
}

const SUBJECT = node('subject', 1, { namedPorts: [{ name: 'p1', protocol: 'TCP', port: 8080 }] });
const PEERS = numbers(20).map((n) => node(`peer-${n}`, 100 + n, { nodeName: 'node-2', labels: { a: `v${n}` } }));

/** One policy for all pods of the namespace. */
function onePolicy(rules: readonly object[], direction: 'ingress' | 'egress' = 'ingress'): HostileNamespace {
  const policyTypes = [direction === 'ingress' ? 'Ingress' : 'Egress'];
  return {
    policies: [policyObject('evil/p', { podSelector: {}, policyTypes, [direction]: rules })],
    pods: [SUBJECT, ...PEERS],
  };
}

const ingress =
  (ruleOf: RuleOf): HostileShape =>
  (count) =>
    onePolicy(numbers(count).map(ruleOf));

const egress =
  (ruleOf: RuleOf): HostileShape =>
  (count) =>
    onePolicy(numbers(count).map(ruleOf), 'egress');

/** `perPolicy` rules in each policy. */
function manyPolicies(count: number, perPolicy: number, selectorOf: (n: number) => object, ruleOf: RuleOf) {
  return numbers(Math.ceil(count / perPolicy)).map((n) =>
    policyObject(`evil/p${n}`, {
      podSelector: selectorOf(n),
      policyTypes: ['Ingress'],
      ingress: numbers(perPolicy).map((index) => ruleOf(n * perPolicy + index)),
    }),
  );
}

const wordsOf = (n: number): object => ({ matchExpressions: [{ key: `word-${n}`, operator: 'DoesNotExist' }] });
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'];

export const HOSTILE_SHAPES: Readonly<Record<string, HostileShape>> = {
  'no peer, one port': ingress((n) => ({ ports: [{ port: port(n) }] })),
  'same pods, one port': ingress((n) => ({ from: [{ podSelector: {} }], ports: [{ port: port(n) }] })),
  'same block, one port': ingress((n) => ({ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ports: [{ port: port(n) }] })),
  'all the same': ingress(() => ({ from: [{ podSelector: {} }], ports: [{ port: 80 }] })),
  'all the same blocks, by pairs': ingress((n) => ({ from: [blockOf(n % 2)], ports: [{ port: 80 + (n % 2) }] })),
  'own block, same port': ingress((n) => ({ from: [blockOf(n)], ports: [{ port: 80 }] })),
  'own block, any port': egress((n) => ({ to: [blockOf(n)] })),
  'own block, own port': ingress((n) => ({ from: [blockOf(n)], ports: [{ port: port(n) }] })),
  'own block with a hole, own port and a common one': egress((n) => ({
    to: [{ ipBlock: { cidr: `11.${n >> 8}.${n & 255}.0/24`, except: [`11.${n >> 8}.${n & 255}.${n % 256}/32`] } }],
    ports: [{ port: port(n) }, { port: 443 }],
  })),
  'own pods, same port': ingress((n) => ({ from: [labelled(n)], ports: [{ port: 80 }] })),
  'own pods, own port': ingress((n) => ({ from: [labelled(n)], ports: [{ port: port(n) }] })),
  'own pods, own port and a common one': egress((n) => ({
    to: [labelled(n)],
    ports: [{ port: port(n) }, { protocol: 'UDP', port: 53 }],
  })),
  'own pods or block, own port': ingress((n) => ({ from: [labelled(n), blockOf(n)], ports: [{ port: port(n) }] })),
  'ranges that overlap, mixed protocols': ingress((n) => ({
    ports: [{ protocol: PROTOCOLS[n % 3], port: port(n), endPort: Math.min(65_535, port(n) + 3) }],
  })),
  'a name each': ingress((n) => ({ from: [{ podSelector: {} }], ports: [{ port: `p${n}` }] })),
  'a name each, out': egress((n) => ({ to: [{ podSelector: {} }], ports: [{ port: `p${n}` }] })),
  'own pods, same name': ingress((n) => ({ from: [labelled(n)], ports: [{ port: 'p1' }] })),
  'one rule with all the ports': (count) => onePolicy([{ ports: numbers(count).map((n) => ({ port: port(n) })) }]),
  'one rule with all the names': (count) => onePolicy([{ ports: numbers(count).map((n) => ({ port: `p${n}` })) }]),
  'one rule with all the pods': (count) => onePolicy([{ from: numbers(count).map(labelled), ports: [{ port: 80 }] }]),
  'one rule with all the blocks': (count) => onePolicy([{ from: numbers(count).map(blockOf) }]),
  'one block with all the holes': (count) =>
    onePolicy([
      {
        from: [
          {
            ipBlock: { cidr: '10.0.0.0/8', except: numbers(count).map((n) => `10.${n >> 8}.${n & 255}.${n % 256}/32`) },
          },
        ],
      },
    ]),
  'one selector with all the values': (count) =>
    onePolicy([
      {
        from: [
          {
            podSelector: {
              matchExpressions: [{ key: 'a', operator: 'NotIn', values: numbers(count).map((n) => `w${n}`) }],
            },
          },
        ],
      },
    ]),
  'one selector with all the terms': (count) =>
    onePolicy([
      {
        from: [
          {
            podSelector: { matchExpressions: numbers(count).map((n) => ({ key: `k${n}`, operator: 'DoesNotExist' })) },
          },
        ],
      },
    ]),
  'a selector of a thousand words, a port for each rule': (count) => ({
    ...onePolicy([]),
    policies: manyPolicies(
      count,
      count,
      () => ({ matchExpressions: numbers(count / 10).map((n) => ({ key: `word-${n}`, operator: 'DoesNotExist' })) }),
      (n) => ({ ports: [{ port: port(n) }] }),
    ),
  }),
  'a policy each, in own words': (count) => ({
    ...onePolicy([]),
    policies: manyPolicies(count, 1, wordsOf, (n) => ({ from: [labelled(n)], ports: [{ port: port(n) }] })),
  }),
  'a policy each, everybody to own port': (count) => ({
    ...onePolicy([]),
    policies: manyPolicies(
      count,
      1,
      () => ({}),
      (n) => ({ ports: [{ port: port(n) }] }),
    ),
  }),
  'ten rules a policy, ten classes': (count) => ({
    policies: manyPolicies(
      count,
      10,
      (n) => ({ matchExpressions: [{ key: 'out-of', operator: 'NotIn', values: [`c${n % 10}`] }] }),
      (n) => ({ from: [labelled(n)], ports: [{ port: port(n) }] }),
    ),
    pods: [...numbers(10).map((n) => node(`subject-${n}`, n, { labels: { 'out-of': `c${n}` } })), ...PEERS],
  }),
  'own pods, own wide range, a policy for each of ten classes': (count) => ({
    policies: manyPolicies(
      count,
      count / 10,
      (n) => ({ matchLabels: { class: `c${n}` } }),
      (n) => ({ from: [labelled(n)], ports: [{ port: port(n), endPort: 65_535 }] }),
    ),
    pods: [...numbers(10).map((n) => node(`subject-${n}`, n, { labels: { class: `c${n}` } })), ...PEERS],
  }),
};
