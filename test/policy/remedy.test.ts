/** The change that is proposed for a denied flow: small, written as people write it, and right once a parser has read it. */
import assert from 'node:assert/strict';
import { addressOwners } from '../../src/policy/address-owners.ts';
import { connectionOf } from '../../src/policy/connection.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import { explainDenial } from '../../src/policy/explain-denial.ts';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { remedyFor, type Remedy } from '../../src/policy/remedy.ts';
import { namespace, pod, policy, policyObject, type PolicySpec, snapshot } from '../support/builders.ts';

const WEB = pod('shop/web', { addresses: ['10.0.0.1'], labels: { app: 'web', 'pod-template-hash': 'abc' } });
const DB = pod('shop/db', { addresses: ['10.0.0.2'], labels: { app: 'db' } });
const FAR = pod('ops/probe', { addresses: ['10.0.0.3'], labels: { app: 'probe' } });

function clusterWith(specs: Readonly<Record<string, PolicySpec>>): ClusterSnapshot {
  return snapshot({
    pods: [WEB, DB, FAR],
    namespaces: [namespace('shop'), namespace('ops')],
    policies: Object.entries(specs).map(([name, spec]) => policy(`shop/${name}`, spec)),
  });
}

const flow = (parts: Partial<Flow> = {}): Flow => ({
  source: '10.0.0.1',
  destination: '10.0.0.2',
  protocol: 6,
  port: 5432,
  ...parts,
});

function remedyOf(cluster: ClusterSnapshot, asked: Flow): Remedy | undefined {
  const connection = connectionOf(addressOwners(cluster.pods.values()), asked);
  return remedyFor(cluster, 'ingress', connection, explainDenial(cluster, 'ingress', connection).policies);
}

/** What the change is worth once it was written into the object and read again. */
function allowsAfter(specs: Readonly<Record<string, PolicySpec>>, asked: Flow): boolean {
  const remedy = remedyOf(clusterWith(specs), asked)!;
  const objects = Object.entries(specs).map(([name, spec]) => policyObject(`shop/${name}`, structuredClone(spec)));
  if (remedy.kind === 'new-policy') objects.push(remedy.manifest as (typeof objects)[number]);
  else {
    const object = objects.find(({ metadata }) => metadata.name === remedy.policy.name)!;
    const path = remedy.field.split(/[.[\]]+/).filter((part) => part !== '');
    let at: Record<string, unknown> = object;
    for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
    const last = path.at(-1)!;
    at[last] = [...((at[last] as unknown[] | undefined) ?? []), remedy.entry];
  }
  const policies = objects.map((object) => {
    const { policy: parsed, problems } = parsePolicy(object);
    assert.deepEqual(problems, []);
    return parsed!;
  });
  return createEvaluator(
    snapshot({ pods: [WEB, DB, FAR], namespaces: [namespace('shop'), namespace('ops')], policies }),
  ).evaluate(asked).allowed;
}

const ONLY_DB = { podSelector: { matchLabels: { app: 'db' } }, policyTypes: ['Ingress'] };
const FROM_WEB = { from: [{ podSelector: { matchLabels: { app: 'web' } } }] };

describe('the smallest change that allows a denied flow', () => {
  it('is a port where the port alone is missing', () => {
    const specs = { p: { ...ONLY_DB, ingress: [{ ...FROM_WEB, ports: [{ port: 80 }] }] } };
    assert.deepEqual(remedyOf(clusterWith(specs), flow()), {
      kind: 'add',
      policy: { namespace: 'shop', name: 'p' },
      field: 'spec.ingress[0].ports',
      entry: { protocol: 'TCP', port: 5432 },
    });
    assert.ok(allowsAfter(specs, flow()));
  });

  it('is a peer where the peer alone is missing: by the labels that last, and by namespace where it is another', () => {
    const specs = { p: { ...ONLY_DB, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'api' } } }] }] } };
    const entryFor = (asked: Flow): unknown => {
      const remedy = remedyOf(clusterWith(specs), asked);
      assert.ok(remedy?.kind === 'add' && remedy.field === 'spec.ingress[0].from');
      assert.ok(allowsAfter(specs, asked));
      return remedy.entry;
    };
    assert.deepEqual(entryFor(flow()), { podSelector: { matchLabels: { app: 'web' } } });
    assert.deepEqual(entryFor(flow({ source: '10.0.0.3' })), {
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ops' } },
      podSelector: { matchLabels: { app: 'probe' } },
    });
    assert.deepEqual(entryFor(flow({ source: '203.0.113.7' })), { ipBlock: { cidr: '203.0.113.7/32' } });
  });

  it('is a rule where peer and port are missing, in the policy that is for fewer pods', () => {
    const specs = {
      'a-deny': { podSelector: {}, policyTypes: ['Ingress'] },
      p: { ...ONLY_DB, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'api' } } }], ports: [{ port: 80 }] }] },
    };
    assert.deepEqual(remedyOf(clusterWith(specs), flow()), {
      kind: 'add',
      policy: { namespace: 'shop', name: 'p' },
      field: 'spec.ingress',
      entry: { ...FROM_WEB, ports: [{ protocol: 'TCP', port: 5432 }] },
    });
    assert.ok(allowsAfter(specs, flow()));
  });

  it('is a policy for that pod where all that isolate it are for all pods: a default deny stays one', () => {
    const specs = { deny: { podSelector: {}, policyTypes: ['Ingress'] }, 'allow-ingress-db': { podSelector: {} } };
    assert.deepEqual(remedyOf(clusterWith(specs), flow()), {
      kind: 'new-policy',
      manifest: policyObject('shop/allow-ingress-db-2', {
        podSelector: { matchLabels: { app: 'db' } },
        policyTypes: ['Ingress'],
        ingress: [{ ...FROM_WEB, ports: [{ protocol: 'TCP', port: 5432 }] }],
      }),
    });
    assert.ok(allowsAfter(specs, flow()));
  });

  it('names no port for a protocol that policies cannot name (S-66)', () => {
    const specs = { p: { ...ONLY_DB, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'api' } } }] }] } };
    const icmp = flow({ protocol: 1, port: 0 });
    assert.deepEqual(remedyOf(clusterWith(specs), icmp)?.kind, 'add');
    assert.ok(allowsAfter(specs, icmp));
    const onlyPort = { p: { ...ONLY_DB, ingress: [{ ...FROM_WEB, ports: [{ port: 80 }] }] } };
    assert.deepEqual(remedyOf(clusterWith(onlyPort), icmp), {
      kind: 'add',
      policy: { namespace: 'shop', name: 'p' },
      field: 'spec.ingress',
      entry: FROM_WEB,
    });
  });

  it('is none where the flow passes, and where two pods that are not isolated alike claim the address (S-73)', () => {
    assert.equal(remedyOf(clusterWith({}), flow()), undefined);
    const twins = [
      pod('shop/one', { addresses: ['10.0.0.9'], labels: { app: 'one' } }),
      pod('shop/two', { addresses: ['10.0.0.9'], labels: { app: 'two' } }),
    ];
    const cluster = snapshot({
      pods: [...twins, WEB],
      policies: [
        policy('shop/p', { podSelector: { matchLabels: { app: 'one' } }, policyTypes: ['Ingress'] }),
        policy('shop/q', { podSelector: {}, policyTypes: ['Ingress'] }),
      ],
    });
    assert.equal(remedyOf(cluster, flow({ destination: '10.0.0.9' })), undefined);
  });
});
