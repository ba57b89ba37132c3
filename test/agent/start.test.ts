import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import type { ClusterChange, ClusterWatch } from '../../src/cluster/watch-cluster.ts';
import type { Dataplane } from '../../src/dataplane/dataplane.ts';
import { Agent, type AgentOptions } from '../../src/agent/agent.ts';
import type { Problem } from '../../src/policy/model.ts';
import { modesReady } from '../../src/telemetry/readiness.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const NODE = 'node-1';

/** An agent whose cluster and data plane only write down what happens to them, in order. */
function bench(options: Partial<AgentOptions> = {}) {
  const told: string[] = [];
  const clock = new VirtualClock();
  const opened = Promise.withResolvers<void>();
  const nodes = new Map<string, { name: string; addresses: []; modeAnnotation?: string; modeLabel?: string }>();
  let change: (change: ClusterChange) => void = () => {};
  let synced = (): void => {};
  const cluster = {
    inSync: false,
    start: () => void told.push('watch'),
    snapshot: () => ({ pods: new Map(), namespaces: new Map(), policies: new Map(), nodes, problems: [] }),
    onChange: (listener: typeof change) => (change = listener),
    onSync: (listener: () => void) => (synced = listener),
    status: () => [],
    versions: () => ({}),
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
    node: async (modeAnnotation?: string, modeLabel?: string) => {
      const after = {
        name: NODE,
        addresses: [] as [],
        ...(modeAnnotation === undefined ? {} : { modeAnnotation }),
        ...(modeLabel === undefined ? {} : { modeLabel }),
      };
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

  it('the annotation wins over the label, the label over --mode; a misspelt one changes nothing, and is named', async () => {
    const problems: Problem[][] = [];
    const modes: string[] = [];
    const { told, agent, open, node, listed } = bench({
      observer: {
        onMode: (mode, source) => void modes.push(`${mode} by ${source}`),
        onProblems: (all) => void problems.push([...all]),
        onSync: () => {},
        onGate: () => {},
        onCommitted: () => {},
        onPodsProgrammed: () => {},
      },
    });
    await open();
    await node(undefined, 'audit');
    await listed();
    assert.deepEqual([told.at(-1), modes.at(-1)], ['sync audit', 'audit by label']);
    await node('dry-run', 'audit');
    assert.deepEqual([told.at(-1), modes.at(-1)], ['sync dry-run', 'dry-run by annotation']);
    assert.deepEqual(problems.flat(), []);
    await node('Enforce', 'audit');
    assert.equal(told.at(-1), 'sync dry-run');
    assert.deepEqual(problems.at(-1), [
      {
        object: { kind: 'Node', name: NODE },
        field: 'metadata.annotations[portcullis.dev/mode]',
        message: '"Enforce" is not one of enforce, audit, dry-run, off; the mode in force is dry-run',
      },
    ]);
    assert.match(
      modesReady(agent.status()).reason,
      /^mode dry-run, by the node's annotation; Node node-1: .*"Enforce"/,
    );
    await node('audit', 'of');
    assert.deepEqual(
      [told.at(-1), problems.at(-1)!.map(({ field }) => field)],
      ['sync audit', ['metadata.labels[portcullis.dev/mode]']],
    );
    await node();
    assert.deepEqual([told.at(-1), modes.at(-1), problems.at(-1)], ['sync enforce', 'enforce by default', []]);
    assert.equal(modesReady(agent.status()).reason, 'mode enforce, by --mode');
  });

  it('a misspelt annotation at the start: the label counts, as long as nothing else was in force', async () => {
    const { told, open, node, listed } = bench();
    await open();
    await node('adit', 'audit');
    await listed();
    assert.equal(told.at(-1), 'sync audit');
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
