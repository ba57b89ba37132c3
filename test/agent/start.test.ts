import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import type { ClusterChange, ClusterWatch } from '../../src/cluster/watch-cluster.ts';
import type { Dataplane } from '../../src/dataplane/dataplane.ts';
import { Agent, type AgentOptions } from '../../src/agent/agent.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const NODE = 'node-1';

/** An agent whose cluster and data plane only write down what happens to them, in order. */
function bench(options: Partial<AgentOptions> = {}) {
  const told: string[] = [];
  const clock = new VirtualClock();
  const opened = Promise.withResolvers<void>();
  const nodes = new Map<string, { name: string; addresses: []; modeAnnotation?: string }>();
  let change: (change: ClusterChange) => void = () => {};
  let synced = (): void => {};
  const cluster = {
    inSync: false,
    start: () => void told.push('watch'),
    snapshot: () => ({ pods: new Map(), namespaces: new Map(), policies: new Map(), nodes, problems: [] }),
    onChange: (listener: typeof change) => (change = listener),
    onSync: (listener: () => void) => (synced = listener),
    status: () => [],
  };
  const dataplane = {
    sync: async (_: unknown, { mode }: { mode: string }) => {
      told.push(`sync ${mode}`);
      return { mode, failures: [], drift: [], stepsApplied: 0, busySets: [], busyChains: [], seconds: {}, lacks: [] };
    },
    prepare: (mode: string) => void told.push(`prepare ${mode}`),
    closeToNewPods: async () => {
      told.push('gate');
      return 'closed';
    },
    onWork: () => {},
  };
  const silent = (): void => {};
  const agent = new Agent({
    nodeName: NODE,
    cluster: cluster as unknown as ClusterWatch,
    dataplane: dataplane as unknown as Dataplane,
    opened: opened.promise,
    newPods: 'open',
    defaultMode: 'enforce',
    minGapMs: 100,
    share: 0.2,
    cpuMs: () => 0,
    resyncIntervalMs: 60_000,
    clock,
    random: () => 0.5,
    observer: { onMode: silent, onSync: silent, onProblems: silent, onGate: silent, onPodsProgrammed: silent },
    ...options,
  } as AgentOptions);
  agent.start(new AbortController().signal);
  const settle = async (): Promise<void> => {
    await turn();
    await clock.pass(1_000);
    await turn();
  };
  return {
    told,
    agent,
    open: async () => {
      opened.resolve();
      await settle();
    },
    node: async (modeAnnotation?: string) => {
      const after = { name: NODE, addresses: [] as [], ...(modeAnnotation === undefined ? {} : { modeAnnotation }) };
      nodes.set(NODE, after);
      change({ kind: 'nodes', key: NODE, type: 'added', after, arrivedAtMs: 0 } as unknown as ClusterChange);
      await settle();
    },
    listed: async () => {
      cluster.inSync = true;
      synced();
      await settle();
    },
  };
}

describe('the start of an agent', () => {
  it('watches at once; what the kernel can do is asked when the node is known, and the first sync waits for all kinds', async () => {
    const { told, open, node, listed } = bench();
    assert.deepEqual(told, ['watch']);
    await open();
    assert.deepEqual(told, ['watch']);
    await node();
    assert.deepEqual(told, ['watch', 'prepare enforce']);
    await listed();
    assert.deepEqual(told.slice(0, 2), ['watch', 'prepare enforce']);
    assert.equal(told.at(-1), 'sync enforce');
  });

  it('fault: the tools come after the cluster was listed: nothing is asked or written before', async () => {
    const { told, agent, open, node, listed } = bench();
    await node();
    await listed();
    agent.resync('a neighbour');
    await node();
    assert.deepEqual(told, ['watch']);
    await open();
    assert.equal(told.at(-1), 'sync enforce');
  });

  it('the mode that the node is annotated with is the one that is prepared for', async () => {
    const { told, open, node } = bench();
    await open();
    await node('dry-run');
    assert.deepEqual(told, ['watch', 'prepare dry-run']);
  });

  it('without the node nothing is asked ahead', async () => {
    const { told, open, listed } = bench();
    await open();
    await listed();
    assert.deepEqual(told, ['watch']);
  });

  it('the gate for new pods is closed before anything else is asked of the kernel', async () => {
    const { told, open, node } = bench({ newPods: 'closed' });
    await node();
    assert.deepEqual(told, ['watch']);
    await open();
    assert.deepEqual(told, ['watch', 'gate', 'prepare enforce']);
  });
});
