import assert from 'node:assert/strict';
import type { SyncInfo } from '../../src/agent/agent.ts';
import { type SyncOutcome, TIDYING } from '../../src/dataplane/dataplane.ts';
import { createIptablesDataplane } from '../../src/dataplane/iptables/iptables-dataplane.ts';
import { compileNode } from '../support/stages.ts';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';
import { agentObserver } from '../../src/telemetry/agent-observer.ts';
import { createAgentMetrics, createRegistry } from '../../src/telemetry/metrics.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { createSyncLog } from '../../src/telemetry/sync-log.ts';
import { SILENT_LOGGER } from '../support/silent-logger.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { createFakeKernel } from '../support/fake-kernel.ts';

const CLUSTER = snapshot({
  pods: [pod('x/a', { addresses: ['10.0.0.1'] })],
  policies: [policy('x/deny', { podSelector: {}, policyTypes: ['Ingress'] })],
});

const DONE: SyncOutcome = {
  mode: 'enforce',
  revision: 1,
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
};

const WITHOUT_NEWS: SyncInfo = {
  reasons: ['pods'],
  resync: false,
  verdict: 'done',
  seconds: 0.004,
  compileSeconds: 0,
  intent: undefined,
  programmingSeconds: 0.004,
  first: false,
  problems: 0,
};

describe('what a sync tells the log', () => {
  async function told(
    break_: (kernel: ReturnType<typeof createFakeKernel>) => void,
    verdict: 'done' | 'failed',
    reasons: readonly string[] = ['resync'],
  ) {
    const lines: string[] = [];
    const tell = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
    const log: Logger = {
      ...SILENT_LOGGER,
      debug: tell('debug'),
      info: tell('info'),
      warn: tell('warn'),
      error: tell('error'),
    };
    const kernel = createFakeKernel();
    const metrics = createAgentMetrics(createRegistry(), { processMetrics: false });
    const observer = agentObserver(metrics, { ...log, child: () => log }, () => kernel.backend);
    const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5 });
    const intent = compileNode(CLUSTER, 'node-1');
    break_(kernel);
    const outcome = await dataplane.sync(intent, { mode: 'enforce', resync: true, interfaces: NO_INTERFACES });
    observer.onSync(outcome, {
      reasons,
      resync: true,
      verdict,
      seconds: 0.1,
      compileSeconds: 0,
      intent,
      programmingSeconds: undefined,
      first: false,
      problems: 0,
    });
    return lines;
  }

  it('fault: that the kernel was changed is said only if it was', async () => {
    assert.deepEqual(await told(() => {}, 'done'), ['info changed the kernel']);
    assert.deepEqual(await told(() => {}, 'done', [TIDYING, 'policies']), ['info changed the kernel']);
    const tidied = 'debug took rules out of the kernel that were replaced';
    assert.deepEqual(await told(() => {}, 'done', [TIDYING]), [tidied]);
    const failed = await told((kernel) => {
      kernel.faults.lockHeld = true;
    }, 'failed');
    assert.deepEqual(failed.slice(1), ['debug nothing, or not all, was written']);
    assert.match(failed[0]!, /^error not written, trying again.*xtables lock/);
  });

  it('syncs that only change who is in a set have a line a second, which counts the others', async () => {
    const lines: string[] = [];
    const tell =
      (level: string) =>
      (message: string, fields: Readonly<Record<string, unknown>> = {}) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields.syncsNotLogged ?? 0)}`);
    let nowMs = 0;
    const log: Logger = { ...SILENT_LOGGER, debug: tell('debug'), info: tell('info') };
    const logSync = createSyncLog(
      log,
      () => 'iptables-nft',
      () => nowMs,
    );
    const counts = {
      chainsWritten: 0,
      chainsDeleted: 0,
      jumpsRepaired: 0,
      setsCreated: 0,
      setsDestroyed: 0,
      membersAdded: 1,
      membersDeleted: 0,
      epochsAdvanced: 0,
    };
    const synced = (atMs: number, chainsWritten = 0): void => {
      nowMs = atMs;
      const change = { counts: { ...counts, chainsWritten }, isEmpty: false, onlyWaits: false, steps: [] };
      logSync({ ...DONE, change: { ...change, text: () => '', degraded: [], setsToFill: 0, epoch: 1 } }, WITHOUT_NEWS);
    };
    for (const atMs of [0, 400, 999, 1_000, 1_500]) synced(atMs);
    synced(1_600, 1);
    assert.deepEqual(lines, [
      'info changed the kernel 0',
      'debug changed the kernel 0',
      'debug changed the kernel 0',
      'info changed the kernel 2',
      'debug changed the kernel 0',
      'info changed the kernel 1',
    ]);
  });

  it('fault: a rule of others that keeps a chain from going is named once, as a warning', async () => {
    const lines = await told((kernel) => {
      kernel.editRules(4, ':OTHERS - [0:0]', ':PCL-I-old - [0:0]', '-A OTHERS -j PCL-I-old');
    }, 'done');
    assert.equal(lines.filter((line) => line.includes('cannot be deleted: rules that are not ours')).length, 1);
    assert.deepEqual(
      lines.filter((line) => line.startsWith('error')),
      [],
    );
  });
});
