/** Several audited policies of one pod: each is counted and told by itself, as if it alone were added to what is in force. */
import assert from 'node:assert/strict';
import { AgentLab, type AgentProcess, skipUnlessRoot, until } from '../support/agent-lab.ts';

const SERVER = { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] };
const from = (...pods: string[]) => ({
  ...SERVER,
  ingress: pods.map((pod) => ({ from: [{ podSelector: { matchLabels: { pod } } }] })),
});
/** Datagrams to different ports, so each is a connection. */
const SENT = { web: 3, monitor: 2, both: 1, stranger: 1 } as const;

type Counts = Readonly<Record<string, number>>;

describe('several audited policies of one pod', function () {
  this.timeout(40_000);
  let t: AgentLab;
  let agent: AgentProcess;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ backend: 'iptables-nft' });
    await t.pods({ 'x/server': {}, ...Object.fromEntries(Object.keys(SENT).map((pod) => [`x/${pod}`, {}])) });
    t.policy('x/a', from('web', 'both'));
    t.policy('x/b', from('monitor', 'both'));
    for (const policy of ['x/a', 'x/b']) t.annotateMode(policy, 'audit');
  });
  after(() => t?.close());
  afterEach(async () => {
    if (agent?.running) await agent.end('SIGTERM');
  });

  /** From port `first` on. */
  async function send(first: number): Promise<void> {
    const script =
      'use IO::Socket::IP; my ($host, $first, $times) = @ARGV; for ($first .. $first + $times - 1) {' +
      'syswrite IO::Socket::IP->new(PeerHost => $host, PeerPort => $_, Proto => "udp"), "x" }';
    const sending = Object.entries(SENT).map(([pod, times]) =>
      t.inside(`x/${pod}`, ['perl', '-e', script, t.address('x/server'), String(first), String(times)]),
    );
    await Promise.all(sending);
  }

  async function counts(): Promise<Counts> {
    const of = { namespace: 'x', direction: 'ingress' };
    const denied = (policy: string) =>
      agent.metric('portcullis_audited_policy_denied_connections_total', { ...of, policy });
    const allowed = (policies: string) => agent.metric('portcullis_audit_allowed_packets_total', { ...of, policies });
    return {
      'a denies': await denied('a'),
      'b denies': await denied('b'),
      'together they deny': await agent.metric('portcullis_audit_denied_connections_total', { ...of, policies: 'a,b' }),
      'a allows': await allowed('a'),
      'b allows': await allowed('b'),
    };
  }

  /** Waits until each has grown by so much. */
  async function grew(before: Counts, more: Counts): Promise<void> {
    let last: Counts = {};
    const grown = (now: Counts): Counts =>
      Object.fromEntries(Object.entries(now).map(([name, count]) => [name, count - (before[name] ?? 0)]));
    await until(
      async () => {
        last = grown(await counts());
        return Object.entries(more).every(([name, count]) => last[name] === count);
      },
      () => `${JSON.stringify(last)}, not ${JSON.stringify(more)}\n${agent.tail()}`,
      8_000,
    );
    assert.deepEqual(last, more);
  }

  for (const dataplane of ['iptables', 'nftables'] as const) {
    it(`${dataplane}: what each would deny by itself, what they would deny together, and what each would newly allow`, async () => {
      agent = await t.start('node-1', { dataplane });
      await t.expect(Object.keys(SENT).map((pod) => `x/${pod} -> x/server` as const));
      await until(async () => (await agent.get('/denials')).body.includes('"reading"'), 'the reader runs', 8_000);
      const open = await settled();
      const since = agent.log.length;
      await send(1000);
      await grew(open, {
        'a denies': SENT.monitor + SENT.stranger,
        'b denies': SENT.web + SENT.stranger,
        'together they deny': SENT.stranger,
        'a allows': 0,
        'b allows': 0,
      });
      assert.deepEqual(await told('x/web', since), [{ verdict: 'would-deny', policies: ['x/b'], wouldAllow: ['x/a'] }]);
      assert.deepEqual(await told('x/stranger', since, 2), [
        { verdict: 'would-deny', policies: ['x/a'], wouldAllow: undefined },
        { verdict: 'would-deny', policies: ['x/b'], wouldAllow: undefined },
      ]);

      t.policy('x/strict', SERVER);
      await t.expect(Object.keys(SENT).map((pod) => `x/${pod} -x x/server` as const));
      const closed = await settled();
      await send(2000);
      await grew(closed, {
        'a denies': 0,
        'b denies': 0,
        'together they deny': 0,
        'a allows': SENT.web + SENT.both,
        'b allows': SENT.monitor + SENT.both,
      });
      t.deletePolicy('x/strict');
    });
  }

  /** Once two readings in a row are the same: the probes of before are counted. */
  async function settled(): Promise<Counts> {
    let last = await counts();
    const isSame = async (): Promise<boolean> => {
      const before = last;
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      last = await counts();
      return JSON.stringify(before) === JSON.stringify(last);
    };
    await until(isSame, 'the counts rest', 15_000);
    return last;
  }

  /** Lines of flows from the pod to port 1000, by policy. */
  async function told(pod: string, since: number, count = 1): Promise<readonly unknown[]> {
    const lines = () =>
      agent.log.slice(since).filter(({ component, source, port }) => {
        return component === 'denials' && port === 1000 && (source as { pod?: string }).pod === pod;
      });
    await until(
      () => lines().length >= count,
      () => `${count} lines of ${pod}\n${agent.tail()}`,
    );
    return lines()
      .map(({ verdict, policies, wouldAllow }) => {
        const names = (policies as readonly { readonly policy: string }[]).map(({ policy }) => policy);
        return { verdict, policies: names, wouldAllow };
      })
      .sort((a, b) => (a.policies.join() < b.policies.join() ? -1 : 1));
  }
});
