/** Policies that are only audited, one by one or by namespace, beside others that are enforced: verdicts, counts and toggling under probes. */
import assert from 'node:assert/strict';
import type { LabFlow, LabRepeat, ProbeOutcome } from '../../lab/network/types.ts';
import {
  AgentLab,
  type AgentProcess,
  enforcedBy,
  ENGINES,
  type Reach,
  skipUnlessRoot,
  until,
} from '../support/agent-lab.ts';

const DENIED = 'portcullis_audit_denied_connections_total';
const ALLOWED = 'portcullis_audit_allowed_packets_total';
const DROPPED = 'portcullis_denied_packets_total';
/** They are read for a twentieth of the time at most, and reading takes longer where others take all processors. */
const READ_WITHIN_MS = 30_000;

const OF_P = { namespace: 'x', policies: 'p', direction: 'ingress' };
const from = (pod: string) => ({ from: [{ podSelector: { matchLabels: { pod } } }] });
const selects = (pod: string) => ({ podSelector: { matchLabels: { pod } } });

/** Whatever becomes of policy p: that of x/other stays enforced. */
const OTHERS = ['x/friend -> x/other', 'x/stranger -x x/other'] as const;
const OPEN: readonly Reach[] = ['x/friend -> x/server', 'x/stranger -> x/server', ...OTHERS];
const ENFORCED: readonly Reach[] = ['x/friend -> x/server', 'x/stranger -x x/server', ...OTHERS];

/** Outcomes in the order in which the probes were sent: silence is noticed later than an answer. */
async function inOrderSent(repeat: LabRepeat): Promise<readonly ProbeOutcome[]> {
  const outcomes = ['reached', 'blocked', 'refused', 'error'] as const;
  const times = await Promise.all(
    outcomes.map(async (outcome) => (await repeat.timesOf(outcome)).map((atMs) => ({ atMs, outcome }))),
  );
  return times
    .flat()
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ outcome }) => outcome);
}

for (const engine of ENGINES) {
  describe(`audited policies: ${engine}`, function () {
    this.timeout(60_000);
    let t: AgentLab;
    let agent: AgentProcess;
    let unjudged: LabFlow;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create(enforcedBy(engine));
      await t.pods({ 'x/server': {}, 'x/other': {}, 'x/friend': {}, 'x/stranger': {}, 'x/marked': {} });
      t.policy('x/marker', { ...selects('marked'), policyTypes: ['Ingress'] });
      t.annotateMode('x/marker', 'enforce');
      t.policy('x/p', { ...selects('server'), ingress: [from('friend')] });
      t.policy('x/q', { ...selects('other'), ingress: [from('friend')] });
      t.annotateMode('x/p', 'audit');
      agent = await t.start();
    });
    after(() => t?.close());
    beforeEach(async () => {
      unjudged = await t.flow('x/friend', 'x/stranger', { mode: 'push-server' });
    });
    afterEach(() => unjudged?.close());

    /** Datagrams that nobody but this sends, nor to there, and a policy denies. */
    let markers = 0;

    /** What was sent so far is in it: rules are read all at once, of each family, and those that deny the markers are among them. */
    async function counted(metric: string, labels = OF_P): Promise<number> {
      for (const family of [4, 6] as const) await t.sendUdp('x/stranger', t.address('x/marked', family), 9, 1);
      markers += 2;
      const read = async (): Promise<number> => await agent.metric(DROPPED, { namespace: 'x', policies: 'marker' });
      await until(async () => (await read()) === markers, 'the rules are read', READ_WITHIN_MS);
      return await agent.metric(metric, labels);
    }

    async function grew(metric: string, since: number, more: number, labels = OF_P): Promise<void> {
      assert.equal((await counted(metric, labels)) - since, more, `${metric}\n${agent.tail()}`);
    }

    const reachedMany = (repeat: LabRepeat): Promise<unknown> =>
      until(async () => (await repeat.status()).counts.reached > 30, 'more than 30 connections', 30_000);

    /** Goes on without a pause that a flow between pods that no policy selects does not make meanwhile: the machine has more to do. */
    async function goesOn(flow: LabFlow): Promise<void> {
      const [asked, free] = [await flow.status(), await unjudged.status()];
      assert.ok(asked.longestSilenceMs < 500 + free.longestSilenceMs, JSON.stringify({ asked, free }));
    }

    const probes = async (repeat: LabRepeat): Promise<number> =>
      Object.values((await repeat.status()).counts).reduce((sum, count) => sum + count, 0);

    it('audit of one policy: it denies nobody, all others are enforced, and it is said', async () => {
      await t.expect(OPEN);
      assert.equal(await agent.metric('portcullis_audited_policies', { namespace: 'x' }), 1);
      assert.equal(await agent.metric('portcullis_isolated_pods', { direction: 'ingress' }), 2);
      const line = await agent.logged(({ message }) => message.startsWith('policies are audited'), 'what is audited');
      assert.deepEqual(line.policies, ['x/p']);
    });

    /** What asks nothing of the kernel. */
    const once = engine === 'iptables-nft' ? it : (): void => {};

    once('its owner sees it as an Event on it, and a misspelt mode of another as well', async () => {
      const events = (): readonly (string | undefined)[] =>
        t.lab.store
          .list('events', { namespace: 'x' })
          .map(({ type, reason, involvedObject }) => `${type} ${reason} ${involvedObject?.name}`)
          .sort();
      await until(() => events().length > 0, 'an Event', 10_000);
      assert.deepEqual(events(), ['Normal Audited p']);
      t.annotateMode('x/q', 'adit');
      await until(() => events().length > 1, 'another Event', 10_000);
      assert.deepEqual(events(), ['Normal Audited p', 'Warning InvalidMode q']);
      t.annotateMode('x/q', null);
      assert.equal(await agent.metric('portcullis_object_events_total', { result: 'created' }), 2);
      assert.equal(await agent.metric('portcullis_object_events_total', { result: 'failed' }), 0);
    });

    it('under load: the counts are what the prober sent, each connection once, and nobody is denied', async () => {
      const before = await counted(DENIED);
      const [audited, free, unanswered] = await Promise.all([
        t.repeat('x/stranger', 'x/server'),
        t.repeat('x/friend', 'x/server'),
        t.repeat('x/stranger', 'x/other'),
      ]);
      const flows = await Promise.all([
        t.flow('x/stranger', 'x/server', { mode: 'talk' }),
        t.flow('x/stranger', 'x/server', { mode: 'push-server', family: 6 }),
        t.flow('x/stranger', 'x/server', { protocol: 'UDP' }),
        t.flow('x/friend', 'x/server'),
      ]);
      // A datagram that nobody answers is one connection, however often it is repeated.
      await t.sendUdp('x/stranger', t.address('x/server'), 9, 5);
      for (const repeat of [audited, free]) await reachedMany(repeat);
      const [sent, allowed, denied] = await Promise.all([audited, free, unanswered].map((repeat) => repeat.stop()));
      for (const flow of flows) {
        await goesOn(flow);
        await flow.close();
      }
      for (const { counts } of [sent!, allowed!]) assert.equal(counts.blocked + counts.refused + counts.error, 0);
      assert.equal(denied!.counts.reached, 0);
      await grew(DENIED, before, sent!.counts.reached + 3 + 1);
    });

    it('beside a policy in force: what it would newly let through is counted, and still denied', async () => {
      t.policy('x/strict', { ...selects('server'), ingress: [from('other')] });
      const closed: readonly Reach[] = ['x/friend -x x/server', 'x/stranger -x x/server', 'x/other -> x/server'];
      await t.expect([...closed, ...OTHERS]);
      const before = await counted(ALLOWED);
      const denied = await counted(DENIED);
      await t.sendUdp('x/friend', t.address('x/server'), 80, 7);
      await t.sendUdp('x/friend', t.address('x/server', 6), 80, 3);
      await t.sendUdp('x/stranger', t.address('x/server'), 80, 4);
      await grew(ALLOWED, before, 10);
      await grew(DENIED, denied, 0);
      t.annotateMode('x/p', null);
      await t.expect(['x/friend -> x/server', 'x/stranger -x x/server', 'x/other -> x/server']);
      t.annotateMode('x/p', 'audit');
      await t.expect(closed);
      t.deletePolicy('x/strict');
      await t.expect(OPEN);
    });

    it('toggled under probes: only what the mode intends changes, live flows included', async () => {
      const [always, never, other] = await Promise.all([
        t.repeat('x/friend', 'x/server'),
        t.repeat('x/stranger', 'x/other'),
        t.repeat('x/friend', 'x/other', 6),
      ]);
      const toggled = await t.repeat('x/stranger', 'x/server');
      const live = await t.flow('x/friend', 'x/server', { mode: 'push-server' });
      for (const [object, mode, wanted] of [
        ['x/p', 'enforce', ENFORCED],
        ['x/p', 'audit', OPEN],
        ['x/p', null, ENFORCED],
        // The namespace's is for all its policies that ask for none themselves.
        ['x/q', 'enforce', ENFORCED],
        ['x', 'audit', OPEN],
        ['x/p', 'enforce', ENFORCED],
        ['x/p', null, OPEN],
        ['x', null, ENFORCED],
      ] as const) {
        const cut = await t.flow('x/stranger', 'x/server', { mode: 'push-server' }).catch(() => undefined);
        t.annotateMode(object, mode);
        await t.expect(wanted);
        if (cut && wanted === ENFORCED)
          await until(async () => (await cut.status()).silentMs > 300, 'the flow is cut', 15_000);
        else if (cut) await goesOn(cut);
        await cut?.close();
      }
      t.annotateMode('x/q', null);
      for (const repeat of [always, other]) {
        await until(async () => (await probes(repeat)) > 20, 'more than 20 probes', 30_000);
        assert.deepEqual(
          (await repeat.stop()).changes.map(({ outcome }) => outcome),
          ['reached'],
        );
      }
      assert.deepEqual(
        (await never.stop()).changes.map(({ outcome }) => outcome),
        ['blocked'],
      );
      const sent = await inOrderSent(toggled);
      await toggled.stop();
      assert.ok(sent.length < 300, 'the prober remembers no more');
      // One that was let through and is cut ahead of its first answer, at each change that revokes.
      assert.ok(sent.filter((outcome) => outcome === 'error').length <= 4);
      const settled = sent.filter((outcome) => outcome !== 'error');
      assert.deepEqual(
        settled.filter((outcome, at) => outcome !== settled[at - 1]),
        ['reached', 'blocked', 'reached', 'blocked', 'reached', 'blocked', 'reached', 'blocked'],
      );
      await goesOn(live);
      await live.close();
    });

    it('egress of one policy: what leaves is counted where it is let through', async () => {
      t.policy('x/out', { ...selects('friend'), policyTypes: ['Egress'], egress: [{ to: from('server').from }] });
      t.annotateMode('x/out', 'audit');
      const labels = { namespace: 'x', policies: 'out', direction: 'egress' };
      await until(async () => (await agent.metric('portcullis_audited_policies', { namespace: 'x' })) === 1, 'audited');
      await t.expect(['x/friend -> x/server', 'x/friend -> x/other']);
      const before = await counted(DENIED, labels);
      const flows = await Promise.all([t.flow('x/friend', 'x/server'), t.flow('x/friend', 'x/other', { family: 6 })]);
      for (const flow of flows) await flow.close();
      await grew(DENIED, before, 1, labels);
      t.deletePolicy('x/out');
    });

    once('a misspelt value: enforced, and named with object, field and value', async () => {
      await t.expect(ENFORCED);
      for (const [object, kind] of [
        ['x/p', 'NetworkPolicy x/p'],
        ['x', 'Namespace x'],
      ] as const) {
        const since = agent.log.length;
        t.annotateMode(object, 'Audit');
        const line = await agent.logged(({ message }) => message.includes('portcullis.dev/mode'), 'the problem', since);
        assert.equal(line.level, 'warn');
        assert.ok(
          line.message.startsWith(`${kind}: metadata.annotations[portcullis.dev/mode]: is "Audit", not one of `),
        );
        assert.match(line.message, /enforced$/);
        assert.match((await agent.get('/readyz?verbose')).body, new RegExp(`mode enforce, by --mode; ${kind}: `));
        await t.expect(ENFORCED);
        t.annotateMode(object, null);
        await until(async () => (await agent.metric('portcullis_policy_problems')) === 0, 'solved');
      }
    });

    it('a restart keeps what is audited, and its counts', async () => {
      t.annotateMode('x', 'audit');
      await t.expect(['x/stranger -> x/server', 'x/stranger -> x/other']);
      const tidied = (): Promise<unknown> =>
        until(async () => !(await t.kernelText()).includes('PCL-O-'), 'what was replaced is gone', 10_000);
      await tidied();
      // What an epoch that is due leaves to the next process, which begins it.
      const isDue = async (): Promise<boolean> => /-released|set released \{[^}]*elements/.test(await t.kernelText());
      await until(async () => !(await isDue()), 'no epoch is due', 10_000);
      const text = await t.restingText();
      await agent.end('SIGTERM');
      const flow = await t.flow('x/stranger', 'x/server');
      agent = await t.start();
      await tidied();
      assert.equal(await t.restingText(), text);
      await goesOn(flow);
      await flow.close();
      t.annotateMode('x', null);
      await t.expect(ENFORCED);
    });
  });
}
