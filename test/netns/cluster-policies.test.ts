/** Cluster-wide policies under packets: the upstream suite, and what becomes of flows that live on. */
import assert from 'node:assert/strict';
import type { ApiObject, ResourceName } from '../../lab/api/objects.ts';
import type { Protocol } from '../../src/core/vocabulary.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { podObject } from '../support/api-objects.ts';
import { COLOURS, Fixture, NODES, type Step, SUITE } from '../support/cluster-suite.ts';

const FAMILIES = [4, 6] as const;
const PROBE_MS = 100;
const POD_PORTS = [
  { name: 'web', containerPort: 80 },
  { containerPort: 8080 },
  { name: 'dns', containerPort: 53, protocol: 'UDP' },
  { containerPort: 5353, protocol: 'UDP' },
  { containerPort: 9003, protocol: 'SCTP' },
  { containerPort: 9005, protocol: 'SCTP' },
];
const FIRST_HOST_PORT = 34345;
const HOST_PORTS = ['TCP', 'TCP', 'UDP', 'TCP', 'UDP', 'TCP', 'SCTP', 'SCTP'].map((protocol, at) => {
  return { containerPort: FIRST_HOST_PORT + at, protocol };
});

describe('cluster-wide policies under packets', function () {
  this.timeout(240_000);
  let t: AgentLab;
  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ nodes: NODES });
    const { store } = t.lab;
    for (const node of NODES) t.labelNode(node, { 'kubernetes.io/os': 'linux' });
    for (const team of COLOURS) {
      store.create('namespaces', { metadata: { name: `cnp-${team}`, labels: { team } } } as never);
      for (const index of [0, 1]) store.create('pods', podOf(team, index));
    }
    await t.lab.settle();
    for (const node of NODES) await t.start(node);
  });
  after(async () => {
    await t?.close();
  });

  const keyOf = (name: string): string => {
    const [team, server] = name.split('/') as [string, string];
    return `cnp-${team}/${team === 'host' ? `hostserver-${server.at(-1)}` : server}`;
  };

  function podOf(team: string, index: number): never {
    const isHost = team === 'host';
    const ports = isHost ? HOST_PORTS : POD_PORTS;
    return podObject(keyOf(`${team}/server-${index}`), {
      labels: { team },
      spec: {
        nodeName: NODES[index]!,
        ...(isHost ? { hostNetwork: true } : {}),
        containers: [{ name: 'main', image: 'lab', ports }],
      },
    }) as never;
  }

  /** Brings objects of the fixture to the server. */
  function apply(fixture: Fixture, isFirst: boolean): void {
    const { store } = t.lab;
    for (const object of fixture.objects) {
      const kind = kindOf(object.kind);
      const copy = structuredClone(object) as unknown as ApiObject;
      if (isFirst) store.create(kind, copy as never);
      else store.update(kind, copy as never);
    }
    for (const { metadata } of store.list('networkpolicies'))
      if (!fixture.objects.some((each) => each.metadata.name === metadata.name))
        store.delete('networkpolicies', { namespace: metadata.namespace!, name: metadata.name });
    for (const [team, labels] of fixture.labels) {
      const before = store.get('namespaces', { name: `cnp-${team}` })!.metadata.labels ?? {};
      if (before.team !== labels.team) t.labelNamespace(`cnp-${team}`, labels);
    }
  }

  const kindOf = (kind: string): Extract<ResourceName, 'networkpolicies' | 'clusternetworkpolicies'> =>
    kind === 'NetworkPolicy' ? 'networkpolicies' : 'clusternetworkpolicies';

  async function wrong(probes: readonly Step[]): Promise<readonly string[]> {
    const asked = probes.flatMap((step) => FAMILIES.map((family) => ({ step, family })));
    const results = await t.lab.network.probeMatrix(
      asked.map(({ step, family }) => ({
        from: t.endpoint(keyOf(step.from!)),
        address: t.address(keyOf(step.to!), family),
        protocol: step.proto!.toUpperCase() as Protocol,
        port: Number(step.port),
        timeoutMs: PROBE_MS,
      })),
    );
    return asked.flatMap(({ step, family }, at) => {
      const { outcome, detail } = results[at]!;
      return outcome === (step.connect ? 'reached' : 'blocked')
        ? []
        : [`IPv${family} ${JSON.stringify(step)}: ${outcome} ${detail ?? ''}`];
    });
  }

  async function expectAll(probes: readonly Step[], what: string): Promise<void> {
    let left: readonly string[] = [];
    const isRight = async (): Promise<boolean> => {
      left = await wrong(probes);
      return left.length === 0;
    };
    await until(isRight, () => `${what}\n${left.join('\n')}`, 10_000);
  }

  for (const { name, manifest, runs } of SUITE.tests)
    it(`${name}, both families`, async () => {
      const addresses = (pod: string) => FAMILIES.map((family) => t.address(keyOf(pod), family));
      const fixture = new Fixture(manifest, 4, addresses);
      apply(fixture, true);
      try {
        for (const { run, steps } of runs) {
          let probes: Step[] = [];
          for (const step of steps) {
            if (step.connect !== undefined) probes.push(step);
            else {
              if (probes.length > 0) await expectAll(probes, run);
              probes = [];
              fixture.change(step);
              apply(fixture, false);
            }
          }
          if (probes.length > 0) await expectAll(probes, run);
        }
      } finally {
        for (const kind of ['networkpolicies', 'clusternetworkpolicies'] as const)
          for (const { metadata } of t.lab.store.list(kind))
            t.lab.store.delete(kind, {
              ...(metadata.namespace ? { namespace: metadata.namespace } : {}),
              name: metadata.name,
            });
      }
    });

  it('a Deny that appears, and a Pass that turns into one, end live flows at once', async () => {
    const [from, to] = ['cnp-green/server-0', 'cnp-blue/server-1'];
    const policy = (action: string) => ({
      metadata: { name: 'guard' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: { matchLabels: { team: 'blue' } } },
        ingress: [{ name: 'no green', action, from: [{ namespaces: { matchLabels: { team: 'green' } } }] }],
      },
    });
    t.lab.store.create('clusternetworkpolicies', policy('Pass') as never);
    await until(async () => (await t.wrong([`${from} -> ${to}`], ['TCP'])).length === 0, 'passed on');
    const flow = await t.flow(from, to);
    t.lab.store.update('clusternetworkpolicies', policy('Deny') as never);
    await until(async () => (await t.wrong([`${from} -x ${to}`], ['TCP'])).length === 0, 'denied');
    const before = await flow.status();
    await sleep(300);
    const after = await flow.status();
    await flow.close();
    assert.ok(before.received > 0, 'the flow had begun');
    assert.equal(after.received, before.received, 'nothing comes any more');
    t.lab.store.delete('clusternetworkpolicies', { name: 'guard' });
  });
});
