/**
 * Cluster-wide policies under packets: the upstream suite, and what becomes of flows that live on. Each engine has nodes and pods of its own in one lab, under
 * the same policies at the same time, so that all of them together take hardly longer than one.
 */
import assert from 'node:assert/strict';
import type { ApiObject, ResourceName } from '../../lab/api/objects.ts';
import type { Protocol } from '../../src/core/vocabulary.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, skipUnlessRoot, type StartOptions, until } from '../support/agent-lab.ts';
import { podObject } from '../support/api-objects.ts';
import { COLOURS, Fixture, type Step, SUITE } from '../support/cluster-suite.ts';

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

interface Engine {
  readonly name: string;
  readonly nodes: readonly [string, string];
  readonly options: StartOptions;
}

const ENGINES: readonly Engine[] = [
  { name: 'iptables-nft', nodes: ['node-1', 'node-2'], options: {} },
  { name: 'iptables-legacy', nodes: ['node-3', 'node-4'], options: { backend: 'iptables-legacy' } },
  { name: 'nftables', nodes: ['node-5', 'node-6'], options: { dataplane: 'nftables' } },
];
const NODES = ENGINES.flatMap(({ nodes }) => nodes);

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
      for (const engine of ENGINES)
        for (const index of [0, 1] as const) store.create('pods', podOf(team, engine, index));
    }
    await t.lab.settle();
    const starting = ENGINES.flatMap(({ nodes, options }) => nodes.map((node) => t.start(node, options)));
    await Promise.all(starting);
  });
  after(async () => {
    await t?.close();
  });

  /** `red/server-1` of the suite is another pod for each engine. */
  const keyOf = (name: string, engine: Engine): string => {
    const [team, server] = name.split('/') as [string, string];
    const index = 2 * ENGINES.indexOf(engine) + Number(server.at(-1));
    return `cnp-${team}/${team === 'host' ? 'hostserver' : 'server'}-${index}`;
  };

  function podOf(team: string, engine: Engine, index: 0 | 1): never {
    const isHost = team === 'host';
    const ports = isHost ? HOST_PORTS : POD_PORTS;
    return podObject(keyOf(`${team}/server-${index}`, engine), {
      labels: { team },
      spec: {
        nodeName: engine.nodes[index],
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
    const asked = ENGINES.flatMap((engine) =>
      probes.flatMap((step) => FAMILIES.map((family) => ({ step, family, engine }))),
    );
    const results = await t.lab.network.probeMatrix(
      asked.map(({ step, family, engine }) => ({
        from: t.endpoint(keyOf(step.from!, engine)),
        address: t.address(keyOf(step.to!, engine), family),
        protocol: step.proto!.toUpperCase() as Protocol,
        port: Number(step.port),
        timeoutMs: PROBE_MS,
      })),
    );
    return asked.flatMap(({ step, family, engine }, at) => {
      const { outcome, detail } = results[at]!;
      return outcome === (step.connect ? 'reached' : 'blocked')
        ? []
        : [`${engine.name}, IPv${family} ${JSON.stringify(step)}: ${outcome} ${detail ?? ''}`];
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
    it(`${name}, both families, every engine`, async () => {
      const addresses = (pod: string) =>
        ENGINES.flatMap((engine) => FAMILIES.map((family) => t.address(keyOf(pod, engine), family)));
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

  it('N-68, N-70: a Deny that appears, and a Pass that turns into one, end live flows at once, without a word', async () => {
    const pairs = ENGINES.map((engine) => [keyOf('green/server-0', engine), keyOf('blue/server-1', engine)] as const);
    const areAll = async (way: '->' | '-x'): Promise<boolean> =>
      (
        await t.wrong(
          pairs.map(([from, to]) => `${from} ${way} ${to}` as const),
          ['TCP'],
        )
      ).length === 0;
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
    await until(() => areAll('->'), 'passed on');
    const flows = await Promise.all(pairs.map(([from, to]) => t.flow(from, to)));
    const haveBegun = async (): Promise<boolean> => {
      const all = await Promise.all(flows.map((flow) => flow.status()));
      return all.every(({ received }) => received > 0);
    };
    await until(haveBegun, 'all flows have begun');
    t.lab.store.update('clusternetworkpolicies', policy('Deny') as never);
    await until(() => areAll('-x'), 'denied');
    const before = await Promise.all(flows.map((flow) => flow.status()));
    await sleep(300);
    const after = await Promise.all(flows.map((flow) => flow.status()));
    await Promise.all(flows.map((flow) => flow.close()));
    for (const [index, { name }] of ENGINES.entries()) {
      assert.equal(after[index]!.received, before[index]!.received, `${name}: nothing comes any more`);
    }
    t.lab.store.delete('clusternetworkpolicies', { name: 'guard' });
  });
});
