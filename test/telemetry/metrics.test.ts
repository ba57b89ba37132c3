import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type AgentMetrics, createAgentMetrics, createRegistry } from '../../src/telemetry/metrics.ts';

/** Every metric of ours: name -> type and label names, as in docs/metrics.md. */
interface Described {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

function fresh(): AgentMetrics {
  return createAgentMetrics(createRegistry(), { processMetrics: false });
}

/** Calls every feeding function once. */
function feed(metrics: AgentMetrics, auditedPolicies: ReadonlyMap<string, number> = new Map([['x', 2]])): void {
  metrics.build('1.2.3');
  metrics.mode('audit');
  metrics.backend('iptables-legacy', 'auto');
  metrics.dataplaneMove('iptables', 'refused');
  metrics.readyConditions([{ name: 'gone', ok: true }]);
  metrics.readyConditions([
    { name: 'first-commit', ok: true },
    { name: 'last-sync', ok: false },
  ]);
  metrics.phase('apply', 0.003);
  metrics.sync('done', 1_700_000_000_500);
  metrics.programmed(0.02);
  metrics.rulesetSize({
    rules: 1,
    chains: 2,
    sets: 3,
    setEntries: 4,
    isolatedPods: { ingress: 5, egress: 6 },
    policies: { active: 7, inactive: 8 },
    auditedPolicies,
    policyProblems: 9,
    epoch: 10,
    pendingSteps: 11,
    waitingNamespaces: 12,
  });
  metrics.freeEpochs(4, 12);
  metrics.revision(13);
  metrics.resourceVersion('pods', 4711);
  metrics.policyStates({
    'in-force': 1,
    'no-pods': 2,
    audited: 3,
    partly: 4,
    'held-back': 5,
    waiting: 6,
    'not-enforced': 7,
  });
  metrics.committed('pods', 0.004, 1.2);
  metrics.committed('nodes', 0.004, undefined);
  metrics.committed('namespaces', 0.004, -0.5);
  metrics.lastQueued(1_700_000_002_000);
  metrics.kernelWrite('ipset');
  metrics.restoreFailure('iptables-nft-restore');
  metrics.xtablesLockWait(0.25);
  metrics.driftRepaired('jump', 'nft');
  metrics.monitorLost('overrun');
  metrics.otherEnforcers(['calico']);
  metrics.driftRepaired('member', 'unknown', 3);
  metrics.logLinesDropped(3);
  metrics.logLinesDropped(7);
  const a = { namespace: 'x', name: 'a' };
  const b = { namespace: 'x', name: 'b' };
  const both = { direction: 'ingress', of: { kind: 'policies', policies: [a, b] }, bytes: 0 } as const;
  metrics.ruleCounters([{ ...both, action: 'allow', flow: 'new', packets: 99 }]);
  metrics.ruleCounters([
    { ...both, action: 'allow', flow: 'new', of: { kind: 'policies', policies: [a] }, packets: 3 },
    { ...both, action: 'allow', flow: 'new', of: { kind: 'other' }, packets: 4 },
    { ...both, action: 'deny', flow: 'live', packets: 5 },
    { ...both, action: 'would-deny', flow: 'new', packets: 0 },
    { ...both, action: 'would-deny-alone', flow: 'new', of: { kind: 'policies', policies: [b] }, packets: 8 },
    { ...both, action: 'would-allow', flow: 'new', packets: 6 },
  ]);
  metrics.watchEvent('pods', 'ADDED');
  metrics.watchEvent('pods', 'ADDED');
  metrics.watchRestart('nodes', 'ended');
  metrics.watchMissedEvents('namespaces', 2);
  metrics.watchLastHeard('networkpolicies', 1_700_000_001_000);
  metrics.watchStaleness('networkpolicies', 34);
  metrics.listDuration('pods', 1.5);
  metrics.objects('pods', 42);
}

async function samples(metrics: AgentMetrics): Promise<ReadonlyMap<string, number>> {
  const { body } = await metrics.scrape();
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

async function describedByRegistry(): Promise<Described[]> {
  const registry = createRegistry();
  const metrics = createAgentMetrics(registry, { processMetrics: false });
  feed(metrics);
  await metrics.scrape();
  const found = await registry.getMetricsAsJSON();
  return found
    .map((metric) => ({
      name: metric.name,
      type: String(metric.type),
      help: metric.help,
      labels: [
        ...new Set(metric.values.flatMap(({ labels }) => Object.keys(labels)).filter((label) => label !== 'le')),
      ].sort(),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function describedByDocs(): Described[] {
  const text = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| `(portcullis_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$/gm)];
  return rows
    .map(([, name, type, labels, help]) => ({
      name: name!,
      type: type!,
      labels: [...labels!.matchAll(/`(\w+)`/g)].map((found) => found[1]!).sort(),
      help: help!,
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

describe('createAgentMetrics', () => {
  it('audited policies have series for a hundred namespaces, and one for all others', async () => {
    const metrics = fresh();
    feed(metrics, new Map(Array.from({ length: 120 }, (_, n) => [`n${n}`, n + 1])));
    const shown = await samples(metrics);
    const series = [...shown].filter(([name]) => name.startsWith('portcullis_audited_policies'));
    assert.equal(series.length, 101);
    // Those with the fewest: 1 + 2 + ... + 20.
    assert.equal(shown.get('portcullis_audited_policies{namespace="_other"}'), 210);
    assert.equal(shown.get('portcullis_audited_policies{namespace="n119"}'), 120);
  });

  it('shows what it was fed', async () => {
    const metrics = fresh();
    feed(metrics);
    const shown = await samples(metrics);
    const expected: readonly (readonly [series: string, value: number])[] = [
      [`portcullis_build_info{version="1.2.3",node_version="${process.version}"}`, 1],
      ['portcullis_mode_info{mode="audit"}', 1],
      ['portcullis_mode_info{mode="enforce"}', 0],
      ['portcullis_backend_info{backend="iptables-legacy",dataplane="auto"}', 1],
      ['portcullis_backend_info{backend="iptables-nft",dataplane="auto"}', 0],
      ['portcullis_dataplane_moves_total{to="iptables",result="refused"}', 1],
      ['portcullis_dataplane_moves_total{to="nftables",result="done"}', 0],
      ['portcullis_ready_condition{condition="first-commit"}', 1],
      ['portcullis_ready_condition{condition="last-sync"}', 0],
      ['portcullis_sync_duration_seconds_count{phase="apply"}', 1],
      ['portcullis_sync_duration_seconds_bucket{le="0.002",phase="apply"}', 0],
      ['portcullis_sync_duration_seconds_bucket{le="0.004",phase="apply"}', 1],
      ['portcullis_passes_total{result="done"}', 1],
      ['portcullis_passes_total{result="failed"}', 0],
      ['portcullis_last_pass_success_timestamp_seconds', 1_700_000_000.5],
      ['portcullis_programming_duration_seconds_sum', 0.02],
      ['portcullis_change_commit_duration_seconds_bucket{le="0.003",kind="pods"}', 0],
      ['portcullis_change_commit_duration_seconds_bucket{le="0.005",kind="pods"}', 1],
      ['portcullis_change_commit_duration_seconds_bucket{le="60",kind="networkpolicies"}', 0],
      ['portcullis_change_age_at_commit_seconds_bucket{le="1.5",kind="pods"}', 1],
      ['portcullis_change_age_at_commit_seconds_count{kind="nodes"}', 0],
      ['portcullis_change_age_at_commit_seconds_sum{kind="namespaces"}', 0],
      ['portcullis_last_change_queued_timestamp_seconds', 1_700_000_002],
      ['portcullis_resource_version{kind="pods"}', 4711],
      ['portcullis_policy_states{state="held-back"}', 5],
      ['portcullis_rules', 1],
      ['portcullis_chains', 2],
      ['portcullis_sets', 3],
      ['portcullis_set_entries', 4],
      ['portcullis_isolated_pods{direction="ingress"}', 5],
      ['portcullis_isolated_pods{direction="egress"}', 6],
      ['portcullis_policies{state="active"}', 7],
      ['portcullis_policies{state="inactive"}', 8],
      ['portcullis_policy_problems', 9],
      ['portcullis_audited_policies{namespace="x"}', 2],
      ['portcullis_audit_allowed_packets_total{namespace="x",policies="a,b",direction="ingress"}', 6],
      ['portcullis_generation', 10],
      ['portcullis_pending_steps', 11],
      ['portcullis_waiting_namespaces', 12],
      ['portcullis_kernel_writes_total{tool="ipset"}', 1],
      ['portcullis_restore_failures_total{tool="iptables-nft-restore"}', 1],
      ['portcullis_xtables_lock_wait_seconds_total', 0.25],
      ['portcullis_drift_repaired_total{kind="jump",by="nft"}', 1],
      ['portcullis_drift_repaired_total{kind="member",by="unknown"}', 3],
      ['portcullis_drift_repaired_total{kind="chain",by="iptables"}', 0],
      ['portcullis_monitor_losses_total{reason="overrun"}', 1],
      ['portcullis_other_enforcers{name="calico"}', 1],
      ['portcullis_other_enforcers{name="cilium"}', 0],
      ['portcullis_log_lines_dropped_total', 7],
      ['portcullis_allowed_connections_total{namespace="x",policies="a",direction="ingress"}', 3],
      ['portcullis_allowed_connections_total{namespace="_other",policies="_other",direction="ingress"}', 4],
      ['portcullis_denied_packets_total{namespace="x",policies="a,b",direction="ingress",flow="live"}', 5],
      ['portcullis_audit_denied_connections_total{namespace="x",policies="a,b",direction="ingress"}', 0],
      ['portcullis_audited_policy_denied_connections_total{namespace="x",policy="b",direction="ingress"}', 8],
      ['portcullis_watch_events_total{kind="pods",type="ADDED"}', 2],
      ['portcullis_watch_restarts_total{kind="nodes",reason="ended"}', 1],
      ['portcullis_watch_missed_events_total{kind="namespaces"}', 2],
      ['portcullis_watch_last_heard_timestamp_seconds{kind="networkpolicies"}', 1_700_000_001],
      ['portcullis_list_duration_seconds_count{kind="pods"}', 1],
      ['portcullis_objects{kind="pods"}', 42],
    ];
    for (const [series, value] of expected) assert.equal(shown.get(series), value, series);
    const dropped = 'portcullis_allowed_connections_total{namespace="x",policies="a,b",direction="ingress"}';
    assert.equal(shown.get(dropped), undefined, 'what is not counted any more');
    assert.equal(shown.get('portcullis_ready_condition{condition="gone"}'), undefined, 'a condition that is no more');
  });

  it('moves the mode instead of adding one', async () => {
    const metrics = fresh();
    metrics.mode('enforce');
    metrics.mode('off');
    const shown = await samples(metrics);
    assert.equal(shown.get('portcullis_mode_info{mode="enforce"}'), 0);
    assert.equal(shown.get('portcullis_mode_info{mode="off"}'), 1);
  });

  it('keeps the last success through failures', async () => {
    const metrics = fresh();
    metrics.sync('later', 5000);
    metrics.sync('partial', 6000);
    metrics.sync('failed', 7000);
    assert.equal((await samples(metrics)).get('portcullis_last_pass_success_timestamp_seconds'), 5);
  });

  it('asks its listeners before each scrape', async () => {
    const metrics = fresh();
    let asked = 0;
    metrics.beforeScrape(() => metrics.objects('nodes', ++asked));
    await metrics.scrape();
    const shown = await samples(metrics);
    assert.equal(shown.get('portcullis_objects{kind="nodes"}'), 2);
  });

  it('waits for those that take a moment', async () => {
    const metrics = fresh();
    metrics.beforeScrape(async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      metrics.objects('nodes', 7);
    });
    assert.equal((await samples(metrics)).get('portcullis_objects{kind="nodes"}'), 7);
  });

  it('names eight of many policies', async () => {
    const metrics = fresh();
    const policies = Array.from({ length: 12 }, (_, index) => ({ namespace: 'x', name: `p${index}` }));
    const of = { kind: 'policies', policies } as const;
    metrics.ruleCounters([{ action: 'deny', direction: 'egress', flow: 'new', of, packets: 2, bytes: 0 }]);
    const labels = 'namespace="x",policies="p0,p1,p2,p3,p4,p5,p6,p7,+4",direction="egress",flow="new"';
    assert.equal((await samples(metrics)).get(`portcullis_denied_packets_total{${labels}}`), 2);
  });

  it('keeps two agents in one process apart', async () => {
    const [one, other] = [fresh(), fresh()];
    one.kernelWrite('ipset');
    assert.equal((await samples(other)).get('portcullis_kernel_writes_total{tool="ipset"}'), undefined);
  });
});

describe('metric names', () => {
  it('follow the Prometheus rules: prefix, base units, _total on counters only', async () => {
    for (const { name, type } of await describedByRegistry()) {
      assert.match(name, /^portcullis_[a-z_]+$/);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
      assert.doesNotMatch(name, /_(ms|millis|micros|minutes|kb)(_|$)/);
      if (type === 'histogram') assert.match(name, /_seconds$/);
    }
  });

  it('are described in docs/metrics.md, all of them and no other', async () => {
    assert.deepEqual(describedByDocs(), await describedByRegistry());
  });
});
