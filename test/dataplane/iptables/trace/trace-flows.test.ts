/** Flows traced through rules that somebody tampered with, that cannot be read, or that change meanwhile. */
import assert from 'node:assert/strict';
import type { TracedFlow, TracedVerdict } from '../../../../src/dataplane/dataplane.ts';
import type { ObservedFamily } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { createIptablesDataplane } from '../../../../src/dataplane/iptables/iptables-dataplane.ts';
import { type TraceReads, traceFlows } from '../../../../src/dataplane/iptables/trace/trace-flows.ts';
import type { PodInterfaces } from '../../../../src/host/pod-interfaces.ts';
import { objectKey } from '../../../../src/policy/model.ts';
import { namespace, pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { createFakeKernel } from '../../../support/fake-kernel.ts';
import { compileNode } from '../../../support/stages.ts';

const CLUSTER = snapshot({
  namespaces: [namespace('x')],
  pods: [
    pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'], labels: { app: 'a' } }),
    pod('x/b', { addresses: ['10.0.0.2', 'fd00::2'], labels: { app: 'b' }, nodeName: 'node-2' }),
  ],
  policies: [
    policy('x/deny', { podSelector: {}, policyTypes: ['Ingress'] }),
    policy('x/allow-b', {
      podSelector: { matchLabels: { app: 'a' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'b' } } }], ports: [{ port: 80 }] }],
    }),
  ],
});
const INTENT = compileNode(CLUSTER, 'node-1');
const NONE: PodInterfaces = { pods: [], bridges: [], broadcasts: [] };
const PLACE = { nodeAddresses: ['192.0.2.1'], localAddresses: INTENT.localAddresses, interfaces: NONE };
const ALLOWED: TracedFlow = { source: '10.0.0.2', destination: '10.0.0.1', protocol: 'TCP', port: 80 };
const DENIED: TracedFlow = { ...ALLOWED, port: 81 };

interface Bench {
  readonly rules: ObservedFamily;
  readonly reads: TraceReads;
  readonly asked: string[];
  readonly trace: (flow: TracedFlow) => Promise<TracedVerdict>;
}

/** A node with its rules; `tamper` edits what the kernel holds of IPv4: chain -> lines. */
async function bench(tamper: (chains: Map<string, string[]>) => void = () => {}): Promise<Bench> {
  const kernel = createFakeKernel();
  const dataplane = createIptablesDataplane({
    kernel,
    layout: LAYOUT,
    now: () => 0,
    firstEpoch: 1,
    reads: { rules: (family) => told.rules(family), sets: (names) => told.sets(names) },
  });
  await dataplane.sync(INTENT, { mode: 'enforce', resync: true, interfaces: NONE });
  const { families, sets } = kernel.state();
  const lines = new Map([...families[4]!.chains].map(([name, rules]) => [name, [...rules]]));
  for (const hook of ['FORWARD', 'INPUT'] as const) lines.set(hook, [...families[4]!.hooks[hook]]);
  tamper(lines);
  const hooks = { FORWARD: lines.get('FORWARD')!, INPUT: lines.get('INPUT')! };
  const rules = { chains: lines, hooks };
  const asked: string[] = [];
  const told: TraceReads = {
    rules: async (family) => (family === 4 ? rules : families[6]!),
    sets: async (names) => {
      asked.push(...names);
      return new Map([...sets].filter(([name]) => names.includes(name)));
    },
  };
  const trace = async (flow: TracedFlow) => (await dataplane.trace([flow], PLACE))[0]!;
  return { rules, reads: told, asked, trace };
}

function endpointChain(chains: Map<string, string[]>): string {
  return [...chains.keys()].find((name) => /^PCL-I-[a-z2-7]{16}$/.test(name))!;
}

describe('flows traced through the rules of a node', () => {
  it('an allowed one: the path, and the rule of the policy that lets it pass', async () => {
    const { trace } = await bench();
    const { kind, path, decided } = await trace(ALLOWED);
    assert.equal(kind, 'passes');
    assert.match(path[0]!, /^FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j PCL-FWD$/);
    assert.match(path.find((each) => each.startsWith('PCL-I-'))!, /-m set --match-set PCL4-\S+ src.* -j RETURN$/);
    assert.deepEqual(
      decided.map(({ direction, action, policies }) => [direction, action, policies.map(objectKey)]),
      [['ingress', 'allow', ['x/allow-b']]],
    );
  });

  it('a denied one: every policy that isolates; over IPv6 the same', async () => {
    const { trace } = await bench();
    for (const flow of [DENIED, { ...DENIED, source: 'fd00::2', destination: 'fd00::1' }]) {
      const { kind, decided, path } = await trace(flow);
      assert.equal(kind, 'dropped');
      assert.match(path.at(-1)!, /-j DROP$/);
      assert.deepEqual(
        decided.map(({ action, policies }) => [action, policies.map(objectKey)]),
        [['deny', ['x/allow-b', 'x/deny']]],
      );
    }
  });

  it('what the node sends itself meets no rule', async () => {
    const { trace } = await bench();
    const { kind, why, path } = await trace({ ...DENIED, source: '192.0.2.1' });
    assert.deepEqual([kind, path], ['passes', []]);
    assert.match(why!, /sends it itself/);
  });

  it('reads no set that no rule on the way asks about', async () => {
    const { trace, asked } = await bench();
    await trace({ ...DENIED, destination: '10.0.0.2' });
    assert.deepEqual(asked, []);
    await trace(ALLOWED);
    assert.equal(asked.length, 1);
  });

  it('addresses that are none, or of two families, are told', async () => {
    const { trace } = await bench();
    for (const source of ['10.0.0', 'fd00::2']) assert.equal((await trace({ ...ALLOWED, source })).kind, 'unknown');
  });
});

describe('flows traced through rules that somebody tampered with', () => {
  it('fault: an ACCEPT ahead of ours', async () => {
    const { trace } = await bench((chains) => chains.get('FORWARD')!.unshift('-s 10.0.0.0/24 -j ACCEPT'));
    const { kind, path } = await trace(DENIED);
    assert.deepEqual([kind, path], ['passes', ['FORWARD -s 10.0.0.0/24 -j ACCEPT']]);
  });

  it('fault: the DROP of a chain is gone', async () => {
    const { trace } = await bench((chains) => {
      const name = endpointChain(chains);
      chains.set(
        name,
        chains.get(name)!.filter((line) => line !== '-j DROP'),
      );
    });
    assert.equal((await trace(DENIED)).kind, 'passes');
  });

  it('fault: a DROP in a chain; the rules of ours that are left keep their origins', async () => {
    const { trace } = await bench((chains) => chains.get(endpointChain(chains))!.unshift('-p tcp -j DROP'));
    const { kind, decided } = await trace(ALLOWED);
    assert.equal(kind, 'dropped');
    assert.equal(decided[0]?.action, 'deny');
  });

  it('fault: the jumps are gone', async () => {
    const { trace } = await bench((chains) => chains.set('FORWARD', []));
    assert.deepEqual(await trace(DENIED), { kind: 'passes', path: [], others: [], decided: [] });
  });

  it('fault: a rule in our chain that cannot be read leaves it unknown; one that is not met does not', async () => {
    const { trace } = await bench((chains) => chains.get('PCL-FWD')!.unshift('-m recent --rcheck -j DROP'));
    const { kind, why } = await trace(DENIED);
    assert.equal(kind, 'unknown');
    assert.match(why!, /none of ours: PCL-FWD -m recent --rcheck -j DROP/);
    const behind = await bench((chains) => chains.get(endpointChain(chains))!.push('-m recent --rcheck -j DROP'));
    assert.equal((await behind.trace(DENIED)).kind, 'dropped');
  });

  it('rules of others in a built-in chain are told and not followed', async () => {
    const theirs = ['-m recent --rcheck -j DROP', '-j CNI-X', '-m set --match-set KUBE-Y src -j DROP'];
    const { trace } = await bench((chains) => chains.get('FORWARD')!.unshift(...theirs));
    const { kind, others } = await trace(ALLOWED);
    assert.deepEqual([kind, others], ['passes', theirs.map((line) => `FORWARD ${line}`)]);
  });

  it('fault: a chain or a set that is gone, a loop', async () => {
    const lost = await bench((chains) => chains.delete(endpointChain(chains)));
    assert.match((await lost.trace(ALLOWED)).why!, /chain PCL-I-\S+ is not there, where a rule leads: PCL-IN/);
    const loop = await bench((chains) => chains.get('PCL-FWD')!.unshift('-g PCL-FWD'));
    assert.match((await loop.trace(ALLOWED)).why!, /loop/);
    const { reads } = await bench();
    const [found] = await traceFlows({ ...reads, sets: async () => new Map() }, undefined, [ALLOWED], PLACE);
    assert.match(found!.why!, /set PCL4-\S+ is not there/);
  });

  it('fault: what changes while it is read is read again', async () => {
    const { reads, rules } = await bench();
    let reading = 0;
    const changing: TraceReads = {
      ...reads,
      rules: async () => (reading++ === 0 ? { ...rules, chains: new Map() } : rules),
    };
    const [found] = await traceFlows(changing, undefined, [ALLOWED], PLACE);
    assert.equal(found!.kind, 'passes');
    assert.equal(reading, 2);
  });

  it('fault: what cannot be read is unknown, with what the tool said', async () => {
    const { reads } = await bench();
    const failing = { ...reads, rules: () => Promise.reject(new Error('iptables-save: no')) };
    const found = await traceFlows(failing, undefined, [ALLOWED, DENIED], PLACE);
    assert.deepEqual(
      found.map(({ kind, why }) => [kind, why]),
      [
        ['unknown', 'iptables-save: no'],
        ['unknown', 'iptables-save: no'],
      ],
    );
  });

  it('without what was written, legends tell whose a denial is', async () => {
    const { reads } = await bench();
    const [found] = await traceFlows(reads, undefined, [DENIED], PLACE);
    assert.deepEqual(found!.decided[0]?.policies.map(objectKey), ['x/allow-b', 'x/deny']);
    const [allowed] = await traceFlows(reads, undefined, [ALLOWED], PLACE);
    assert.deepEqual(allowed!.decided[0]?.rules, [], 'not told by which of them');
  });
});
