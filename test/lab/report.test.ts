import assert from 'node:assert/strict';
import type { ClusterNetworkPolicyObject, NetworkPolicyObject } from '../../lab/api/objects.ts';
import { compareMatrices } from '../../lab/matrix.ts';
import { labReport, type ReportInput } from '../../lab/report.ts';
import { answer, matrixOf } from './matrices.ts';

const BEFORE = matrixOf(['x/a', 'node-1']);
const MATRIX = matrixOf(['x/a', 'node-1'], { denied: (from) => from === 'x/a' });

function report(verdicts: readonly ('agrees' | 'differs' | 'flaps')[]) {
  const input: ReportInput = {
    lab: {
      nodes: ['node-1'],
      wiring: 'routed',
      families: [4],
      dataplane: 'iptables',
      backend: 'iptables-nft',
      mode: 'enforce',
    },
    skipped: [{ file: 'a.yaml', line: 3, message: 'Widget w' }],
    policies: [
      { metadata: { namespace: 'x', name: 'p' }, spec: { podSelector: {}, policyTypes: ['Egress'] } },
    ] as unknown as NetworkPolicyObject[],
    clusterPolicies: [
      { metadata: { name: 'rails' }, spec: { tier: 'Admin', priority: 10 } },
    ] as unknown as ClusterNetworkPolicyObject[],
    steps: [
      { policy: 'x/p', matrix: MATRIX, change: compareMatrices(BEFORE, MATRIX), millisecondsToEnforced: 42 },
      { policy: 'x/q', matrix: MATRIX, change: compareMatrices(MATRIX, MATRIX), millisecondsToEnforced: undefined },
    ],
    matrix: MATRIX,
    measurement: {
      agreedAfterMs: 0,
      cells: verdicts.map((verdict) => ({
        verdict,
        result: verdict === 'agrees' ? answer('blocked') : answer('error', 'no route'),
      })),
    },
    seconds: 1.23456,
  };
  return JSON.parse(JSON.stringify(labReport(input))) as unknown;
}

describe('labReport', () => {
  it('holds every field that docs/lab.md lists', () => {
    assert.deepEqual(report(['agrees', 'flaps']), {
      ok: false,
      seconds: 1.235,
      lab: {
        nodes: ['node-1'],
        wiring: 'routed',
        families: [4],
        dataplane: 'iptables',
        backend: 'iptables-nft',
        mode: 'enforce',
      },
      skipped: [{ file: 'a.yaml', line: 3, message: 'Widget w' }],
      policies: [{ name: 'x/p', policyTypes: ['Egress'] }],
      clusterPolicies: [{ name: 'rails', tier: 'Admin', priority: 10 }],
      steps: [
        {
          policy: 'x/p',
          millisecondsToEnforced: 42,
          nowDenied: [{ from: 'x/a', to: 'node-1', family: 4, protocol: 'TCP', port: 80 }],
          nowAllowed: [],
        },
        { policy: 'x/q', millisecondsToEnforced: null, nowDenied: [], nowAllowed: [] },
      ],
      endpoints: [
        { name: 'x/a', kind: 'pod', node: null, hostNetwork: false, addresses: ['203.0.113.1', '2001:db8::1'] },
        { name: 'node-1', kind: 'node', node: 'node-1', hostNetwork: true, addresses: ['203.0.113.2', '2001:db8::2'] },
      ],
      counts: { cells: 2, agree: 1, differ: 0, flap: 1 },
      cells: [
        {
          from: 'x/a',
          to: 'node-1',
          family: 4,
          protocol: 'TCP',
          port: 80,
          address: '203.0.113.2',
          predicted: 'denied',
          measured: 'blocked',
          verdict: 'agrees',
        },
        {
          from: 'node-1',
          to: 'x/a',
          family: 4,
          protocol: 'TCP',
          port: 80,
          address: '203.0.113.1',
          predicted: 'allowed',
          measured: 'error',
          verdict: 'flaps',
          detail: 'no route',
        },
      ],
    });
  });

  it('is ok only when every cell agrees', () => {
    const ok = (verdicts: Parameters<typeof report>[0]): unknown => (report(verdicts) as { ok: unknown }).ok;
    assert.equal(ok(['agrees', 'agrees']), true);
    assert.equal(ok(['agrees', 'differs']), false);
  });
});
