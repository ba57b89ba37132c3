/** What is written for flows that were seen, policy by policy. Addresses: pods 10.0.0.0/24, the world 203.0.113.0/24. */
import assert from 'node:assert/strict';
import type { ClusterSnapshot, Pod } from '../../../src/policy/model.ts';

import { DIRECTIONS, PROTOCOL_NUMBER } from '../../../src/core/vocabulary.ts';
import { UNKNOWN_LABELS } from '../../../src/policy/model.ts';
import { recommend, type Recommendation, type RecommendOptions } from '../../../src/policy/recommend/recommend.ts';
import { namespace, pod, policy, snapshot } from '../../support/builders.ts';

const WEB = pod('shop/web-7d4f-abcde', {
  addresses: ['10.0.0.1'],
  labels: { app: 'web', 'pod-template-hash': '7d4f', version: '3' },
});
const DB = pod('shop/db-0', {
  addresses: ['10.0.0.2'],
  labels: { app: 'db', 'statefulset.kubernetes.io/pod-name': 'db-0' },
  namedPorts: [{ name: 'sql', protocol: 'TCP', port: 5432 }],
});
const DNS = pod('kube-system/dns', { addresses: ['10.0.0.3'], labels: { 'k8s-app': 'kube-dns' } });

const groupOf = ({ labels, name }: Pod): string => `deployment/${labels.app ?? name}`;

function world(pods: readonly Pod[], policies: Parameters<typeof policy>[] = []): ClusterSnapshot {
  return snapshot({
    pods,
    policies: policies.map((args) => policy(...args)),
    namespaces: [namespace('shop'), namespace('kube-system')],
    nodes: [{ name: 'node-1', addresses: ['172.18.0.2'] }],
  });
}

type Seen = readonly [source: string, destination: string, protocol: keyof typeof PROTOCOL_NUMBER, port: number];

function recommended(
  cluster: ClusterSnapshot,
  seen: readonly Seen[],
  options: Partial<RecommendOptions> = {},
): Recommendation {
  const observed = seen.map(([source, destination, protocol, port], index) => ({
    flow: {
      source,
      destination,
      protocol: PROTOCOL_NUMBER[protocol],
      port,
      ...(source.startsWith('172.') ? { fromNode: 'node-1' } : {}),
    },
    count: 1,
    from: `${index + 1}`,
  }));
  return recommend(cluster, observed, {
    groupOf,
    isFor: (name) => name === 'shop',
    directions: DIRECTIONS,
    limits: { most: 8, podBlocks: [] },
    fromScratch: false,
    ...options,
  });
}

/** `web egress: ...` */
function written({ policies }: Recommendation): Record<string, unknown> {
  return Object.fromEntries(
    policies.map(({ manifest }) => {
      const { metadata, spec } = manifest as { metadata: { name: string }; spec: object };
      return [metadata.name, spec];
    }),
  );
}

const QUERY: Seen = ['10.0.0.1', '10.0.0.3', 'UDP', 53];
const SQL: Seen = ['10.0.0.1', '10.0.0.2', 'TCP', 5432];
const TO_DNS = {
  to: [
    {
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
      podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
    },
  ],
  ports: [{ protocol: 'UDP', port: 53 }],
};

describe('recommend', () => {
  it('writes both ends of what was seen, in labels that last, other namespaces by their name', () => {
    const found = recommended(world([WEB, DB, DNS]), [SQL, QUERY]);
    const ports = [{ protocol: 'TCP', port: 5432 }];
    assert.deepEqual(written(found), {
      'allow-db': {
        podSelector: { matchLabels: { app: 'db' } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports }],
        egress: [],
      },
      'allow-web': {
        podSelector: { matchLabels: { app: 'web' } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [],
        egress: [TO_DNS, { to: [{ podSelector: { matchLabels: { app: 'db' } } }], ports }],
      },
    });
    assert.deepEqual([found.withheld, found.denied, found.unwritten], [[], [], []]);
  });

  it('adds to policies that are there what they do not let through, audited ones as if they were enforced', () => {
    const dns = ['shop/dns', { podSelector: {}, policyTypes: ['Egress'], egress: [TO_DNS] }, 'audit'] as const;
    const found = recommended(world([WEB, DB, DNS], [[...dns]]), [SQL, QUERY], { directions: ['egress'] });
    assert.deepEqual(written(found), {
      'allow-web': {
        podSelector: { matchLabels: { app: 'web' } },
        policyTypes: ['Egress'],
        egress: [{ to: [{ podSelector: { matchLabels: { app: 'db' } } }], ports: [{ protocol: 'TCP', port: 5432 }] }],
      },
    });
    assert.deepEqual(
      found.uses.map(({ flows }) => flows),
      [1],
    );
    const scratch = recommended(world([WEB, DB, DNS], [[...dns]]), [SQL, QUERY], { fromScratch: true });
    assert.deepEqual(Object.keys(written(scratch)), ['allow-db', 'allow-web']);
  });

  it('names the rules that nothing needed', () => {
    const spec = { podSelector: {}, ingress: [{ ports: [{ port: 1 }] }, { ports: [{ port: 5432 }] }] };
    const { uses } = recommended(world([WEB, DB], [['shop/two', spec]]), [SQL]);
    assert.deepEqual(
      uses.map(({ rule, flows }) => [rule.policy.name, rule.direction, rule.index, flows]),
      [
        ['two', 'ingress', 0, 0],
        ['two', 'ingress', 1, 1],
      ],
    );
  });

  it('takes a port by its name where pods have several numbers for it, else by number', () => {
    const other = pod('shop/db-1', {
      addresses: ['10.0.0.4'],
      labels: { app: 'db' },
      namedPorts: [{ name: 'sql', protocol: 'TCP', port: 5433 }],
    });
    const seen: Seen[] = [SQL, ['10.0.0.1', '10.0.0.4', 'TCP', 5433], ['10.0.0.1', '10.0.0.4', 'TCP', 80]];
    const { 'allow-db': spec } = written(recommended(world([WEB, DB, other]), seen)) as Record<
      string,
      { ingress: unknown }
    >;
    assert.deepEqual(spec!.ingress, [
      {
        from: [{ podSelector: { matchLabels: { app: 'web' } } }],
        ports: [
          { protocol: 'TCP', port: 80 },
          { protocol: 'TCP', port: 'sql' },
        ],
      },
    ]);
  });

  it('takes many ports as a range, and a protocol without ports as all of them, and says so', () => {
    const seen = Array.from({ length: 17 }, (_, index): Seen => ['10.0.0.1', '10.0.0.2', 'TCP', 40_000 + 2 * index]);
    const [range] = recommended(world([WEB, DB]), seen, { directions: ['ingress'] }).policies;
    const { spec } = range!.manifest as { spec: { ingress: readonly { ports: unknown }[] } };
    assert.deepEqual(spec.ingress[0]!.ports, [{ protocol: 'TCP', port: 40_000, endPort: 40_032 }]);
    assert.deepEqual(range!.rules[0]!.notes, ['TCP 40000 to 40032 stands for the 17 ports seen']);
    const ping = recommended(world([WEB, DB]), [SQL, ['10.0.0.1', '10.0.0.2', 'ICMP', 0]], { directions: ['ingress'] });
    const { ingress } = written(ping)['allow-db'] as { ingress: unknown };
    assert.deepEqual(ingress, [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }] }]);
  });

  it('lets peers with the same ports share a rule, addresses as blocks', () => {
    const seen: Seen[] = [SQL, ['203.0.113.7', '10.0.0.2', 'TCP', 5432]];
    const { ingress } = written(recommended(world([WEB, DB]), seen))['allow-db'] as { ingress: unknown };
    assert.deepEqual(ingress, [
      {
        from: [{ podSelector: { matchLabels: { app: 'web' } } }, { ipBlock: { cidr: '203.0.113.7/32' } }],
        ports: [{ protocol: 'TCP', port: 5432 }],
      },
    ]);
  });

  it('writes nothing for what is never judged: a probe of the own node', () => {
    assert.deepEqual(written(recommended(world([DB]), [['172.18.0.2', '10.0.0.2', 'TCP', 5432]])), {});
  });

  it('asks for one label more where pods of another workload have the first as well', () => {
    const canary = pod('shop/web-canary', {
      addresses: ['10.0.0.5'],
      labels: { app: 'web', track: 'canary', version: '4' },
    });
    const stable = { ...WEB, labels: { ...WEB.labels, track: 'stable' } };
    const byTrack = ({ labels, name }: Pod): string => `deployment/${labels.track ?? name}`;
    const apart = recommended(world([stable, canary, DB]), [SQL], { groupOf: byTrack }).policies;
    const { manifest, group } = apart.find(({ group: { name } }) => name === 'deployment/stable')!;
    assert.deepEqual((manifest.spec as { podSelector: unknown }).podSelector, {
      matchLabels: { app: 'web', track: 'stable' },
    });
    assert.deepEqual(group.alsoSelects, []);
    const alike = recommended(world([WEB, { ...canary, labels: { app: 'web', version: '4' } }, DB]), [SQL], {
      groupOf: ({ name }) => `pod/${name}`,
    });
    assert.deepEqual(alike.policies.find(({ group: { pods } }) => pods.includes(WEB))!.notes, [
      'no label tells shop/pod/web-7d4f-abcde from pod/web-canary: these are meant as well',
    ]);
  });

  it('writes no policy for pods that only a selector of all pods would find', () => {
    const bare = pod('shop/bare', { addresses: ['10.0.0.6'], labels: {} });
    const found = recommended(world([bare, DB]), [['10.0.0.6', '10.0.0.2', 'TCP', 5432]]);
    assert.deepEqual(found.unwritten, [
      { group: 'shop/deployment/bare', why: 'its pods have no label in common that lasts' },
    ]);
    assert.deepEqual(Object.keys(written(found)), ['allow-db']);
  });

  it('withholds a policy under which an observed flow would be denied, and tells which', () => {
    // Each policy of the namespace may select it, and none is sure to.
    const unknown = pod('shop/unknown', { addresses: ['10.0.0.7'], labels: UNKNOWN_LABELS });
    const query: Seen = ['10.0.0.7', '10.0.0.3', 'UDP', 53];
    const found = recommended(world([WEB, DB, DNS, unknown]), [SQL, query]);
    assert.deepEqual(written(found), {});
    assert.deepEqual(
      found.withheld.map(({ policy: { group }, denied }) => [group.name, denied.seen.flow.source, denied.direction]),
      [
        ['deployment/db', '10.0.0.7', 'egress'],
        ['deployment/web', '10.0.0.7', 'egress'],
      ],
    );
    assert.deepEqual(found.denied, []);
  });

  it('tells what policies elsewhere deny, which is not for it to change', () => {
    const cluster = world([WEB, DNS], [['kube-system/closed', { podSelector: {}, ingress: [] }]]);
    const { denied } = recommended(cluster, [QUERY]);
    assert.deepEqual(
      denied.map(({ direction, seen }) => [direction, seen.from]),
      [['ingress', '1']],
    );
  });

  it('takes a name that no policy has', () => {
    const found = recommended(world([DB, WEB], [['shop/allow-db', { podSelector: { matchLabels: { app: 'x' } } }]]), [
      SQL,
    ]);
    assert.deepEqual(Object.keys(written(found)), ['allow-db-2', 'allow-web']);
  });

  it('adds up what was seen of one flow, with the first and the last time', () => {
    const [source, destination] = ['10.0.0.1', '10.0.0.2'];
    const flow = { source, destination, protocol: 6, port: 5432 };
    const seen = [
      { flow, count: 2, firstMs: 2000, lastMs: 3000, from: 'a' },
      { flow, count: 5, lastMs: 1000, from: 'b' },
      { flow, count: 1, from: 'c' },
    ];
    const limits = { most: 8, podBlocks: [] };
    const options = { groupOf, isFor: () => true, directions: ['ingress'], limits, fromScratch: false } as const;
    const { policies, flows } = recommend(world([WEB, DB]), seen, options);
    const { example, ...evidence } = policies[0]!.rules[0]!.evidence;
    assert.deepEqual(evidence, { flows: 1, count: 8, firstMs: 1000, lastMs: 3000 });
    assert.deepEqual([example.from, flows], ['b', 1]);
  });
});
