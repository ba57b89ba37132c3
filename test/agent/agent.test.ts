/** The agent between a cluster and a data plane that are played: what goes in when, and what is said of it. */
import assert from 'node:assert/strict';
import { Agent, type SyncInfo } from '../../src/agent/agent.ts';
import type { ClusterChange } from '../../src/cluster/watch-cluster.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import type { Dataplane, SyncOutcome } from '../../src/dataplane/dataplane.ts';
import type { ClusterSnapshot, Pod, Policy } from '../../src/policy/model.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const PEER = { from: [{ podSelector: { matchLabels: { app: 'peer' } } }] };
const remote = (labels: Record<string, string>): Pod =>
  pod('x/remote', { nodeName: 'node-2', addresses: ['10.0.1.1'], labels });
const edited = (port: number): Policy => policy('x/p', { podSelector: {}, ingress: [{ ...PEER, ports: [{ port }] }] });

function play() {
  const clock = new VirtualClock();
  const cluster: ClusterSnapshot = snapshot({
    pods: [pod('x/local', { addresses: ['10.0.0.1'] }), remote({ app: 'peer' })],
    policies: [edited(80)],
    nodes: [{ name: 'node-1', addresses: ['192.0.2.1'] }],
  } as Parameters<typeof snapshot>[0]);
  let tell: (change: ClusterChange) => void = () => {};
  let used = 0;
  let nextUse = 0;
  const intents: NodeIntent[] = [];
  const infos: SyncInfo[] = [];
  const outcome = (revision: number): SyncOutcome => ({
    mode: 'enforce',
    revision,
    change: undefined,
    stepsApplied: 1,
    drift: [],
    failures: [],
    partial: false,
    busySets: [],
    busyChains: [],
    seconds: {},
    lacks: [],
    unread: [],
  });
  const dataplane: Dataplane = {
    sync: async (intent) => {
      intents.push(intent);
      used += nextUse;
      return outcome(intent.revision);
    },
    remove: async () => outcome(0),
    closeToNewPods: async () => 'closed',
    onWork: () => {},
    counters: async () => [],
    trace: async () => [],
    prepare: () => {},
  };
  const agent = new Agent({
    nodeName: 'node-1',
    cluster: {
      inSync: true,
      start: () => {},
      snapshot: () => cluster,
      status: () => [],
      versions: () => ({}),
      onChange: (listener) => (tell = listener),
      onSync: (listener) => listener(),
    },
    dataplane,
    newPods: 'open',
    defaultMode: 'enforce',
    share: 0.2,
    cpuMs: () => used,
    minGapMs: 0,
    resyncIntervalMs: 1e6,
    clock,
    random: () => 0.5,
    observer: {
      onMode: () => {},
      onProblems: () => {},
      onGate: () => {},
      onCommitted: () => {},
      onPodsProgrammed: () => {},
      onSync: (_, info) => infos.push(info),
    },
  });
  agent.start(new AbortController().signal);
  const change = (kind: ClusterChange['kind'], key: string, changed: ClusterChange['after'], before?: Pod): void =>
    tell({
      kind,
      key,
      type: 'changed',
      ...(before ? { before } : {}),
      ...(changed ? { after: changed } : {}),
      arrivedAtMs: clock.now(),
    });
  for (const [key, each] of cluster.pods) change('pods', key, each);
  for (const [key, each] of cluster.policies) change('networkpolicies', key, each);
  change('nodes', 'node-1', { name: 'node-1', addresses: ['192.0.2.1'] } as ClusterChange['after']);
  return { agent, clock, change, intents, infos, cost: (ms: number) => (nextUse = ms) };
}

const members = ({ addressSets }: NodeIntent): number =>
  [...addressSets.values()].reduce((sum, set) => sum + set.members.size, 0);
const ports = ({ programs }: NodeIntent): unknown =>
  programs.map(({ stages }) => stages[0]!.rules.map((rule) => rule.ports));

describe('a change of members while rules pause for what they cost', () => {
  it('goes in at once; the rules follow, and are not said to be in the kernel before', async () => {
    const { agent, clock, change, intents, infos, cost } = play();
    await clock.pass(100);
    assert.equal(intents.length, 1);
    cost(200);
    change('networkpolicies', 'x/p', edited(81));
    await clock.pass(10);
    const whole = agent.status().inKernel!.revision;
    change('networkpolicies', 'x/p', edited(82));
    await clock.pass(10);
    cost(1);
    change('pods', 'x/remote', remote({}), remote({ app: 'peer' }));
    await clock.pass(5);
    assert.equal(intents.length, 3, 'the second edit pauses');
    const [, second, third] = intents;
    assert.deepEqual([members(second!), members(third!)], [1, 0]);
    assert.deepEqual(ports(third!), ports(second!));
    assert.deepEqual(third!.waiting, ['x']);
    assert.equal(agent.status().inKernel!.revision, whole, 'not all is in the kernel');
    assert.equal(infos.at(-1)!.programmingSeconds, 0, 'it waited for nothing');
    await clock.pass(300);
    assert.equal(intents.length, 4);
    assert.notDeepEqual(ports(intents[3]!), ports(third!));
    assert.ok(agent.status().inKernel!.revision > whole);
    assert.equal(infos.at(-1)!.programmingSeconds, 0.25 - 0.01, 'since the edit, not since the pod');
    await agent.stop();
  });
});
