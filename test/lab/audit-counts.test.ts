import assert from 'node:assert/strict';
import { Registry } from 'prom-client';
import { ruleCounterMetrics } from '../../src/telemetry/rule-counters.ts';
import type { RuleCounter } from '../../src/dataplane/dataplane.ts';
import { auditCounts } from '../../lab/audit-counts.ts';

/** As an agent prints it. */
async function page(
  ...counters: readonly (readonly [direction: 'ingress' | 'egress', packets: number, ...string[]])[]
) {
  const registry = new Registry();
  ruleCounterMetrics(registry).ruleCounters(
    counters.map(([direction, packets, ...names]): RuleCounter => {
      const policies = names.map((name) => ({ kind: 'NetworkPolicy', namespace: 'shop', name }) as const);
      return { action: 'would-deny', direction, flow: 'new', of: { kind: 'policies', policies }, packets, bytes: 0 };
    }),
  );
  return registry.metrics();
}

describe('auditCounts', () => {
  it('adds up what the agents of all nodes print, by policies and direction', async () => {
    const pages = [
      await page(['ingress', 3, 'deny'], ['egress', 2, 'deny', 'dns'], ['egress', 0, 'quiet']),
      await page(['ingress', 4, 'deny']),
      await page(),
    ];
    assert.deepEqual(auditCounts(pages), [
      { namespace: 'shop', policies: 'deny', direction: 'ingress', connections: 7 },
      { namespace: 'shop', policies: 'deny,dns', direction: 'egress', connections: 2 },
    ]);
  });

  it('finds nothing in a page that is none', () => {
    assert.deepEqual(auditCounts(['', 'not found', 'portcullis_audit_denied_connections_total 5']), []);
  });
});
