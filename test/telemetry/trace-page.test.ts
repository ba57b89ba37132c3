import assert from 'node:assert/strict';
import type { AgentStatus } from '../../src/agent/agent.ts';
import type { TracedFlow, TracedVerdict } from '../../src/dataplane/dataplane.ts';
import { readTracedFlows, TraceGate, tracedFlowText, tracePage } from '../../src/telemetry/trace-page.ts';

const FLOW: TracedFlow = { source: '10.0.0.1', destination: '10.0.0.2', protocol: 'TCP', port: 80 };
const policy = { namespace: 'x', name: 'p' };
const VERDICT: TracedVerdict = {
  kind: 'passes',
  path: ['PCL-FWD -j PCL-EG'],
  others: [],
  decided: [
    { direction: 'ingress', action: 'allow', policies: [policy], rules: [{ policy, direction: 'ingress', index: 2 }] },
  ],
};

function status(fields: Partial<AgentStatus>): AgentStatus {
  return { mode: 'enforce', modeSource: 'annotation', inSync: true, lastOutcome: {}, ...fields } as AgentStatus;
}

describe('/trace', () => {
  it('tells verdict, path, policies and rules, and the mode in force', () => {
    const page = tracePage([FLOW], { nodeName: 'n', agent: status({ lastSyncedMs: 7 }), verdicts: [VERDICT] });
    assert.deepEqual(page, {
      version: 1,
      node: 'n',
      mode: { inForce: 'enforce', source: 'annotation' },
      settled: true,
      flows: [
        {
          ...FLOW,
          verdict: 'passes',
          why: null,
          path: ['PCL-FWD -j PCL-EG'],
          others: [],
          decided: [{ direction: 'ingress', action: 'allow', policies: ['x/p'], rules: ['x/p spec.ingress[2]'] }],
        },
      ],
    });
  });

  it('is settled once what arrived last is written', () => {
    const settled = (fields: Partial<AgentStatus>): boolean =>
      tracePage([], { nodeName: 'n', agent: status(fields), verdicts: [] }).settled;
    assert.ok(settled({ lastQueuedMs: 5, lastSyncedMs: 7 }));
    assert.ok(!settled({ lastQueuedMs: 8, lastSyncedMs: 7 }));
    assert.ok(!settled({ lastSyncedMs: undefined }));
    assert.ok(!settled({ inSync: false, lastSyncedMs: 7 }));
  });

  it('reads flows as they are written', () => {
    const query = new URLSearchParams([['flow', tracedFlowText(FLOW)]]);
    assert.deepEqual(readTracedFlows(query), [FLOW]);
  });

  it('lets one question in at a time, and none within a second of the one before', async () => {
    let now = 0;
    const gate = new TraceGate(() => now);
    const held = Promise.withResolvers<string>();
    const first = gate.run(() => held.promise);
    now = 5_000;
    assert.equal(await gate.run(async () => 'second'), undefined);
    held.resolve('first');
    assert.equal(await first, 'first');
    assert.equal(await gate.run(async () => 'third'), 'third');
    now = 5_999;
    assert.equal(await gate.run(async () => 'fourth'), undefined);
    now = 6_000;
    await assert.rejects(gate.run(() => Promise.reject(new Error('no'))));
    now = 7_000;
    assert.equal(await gate.run(async () => 'after a failure'), 'after a failure');
  });
});
