/** What the agent does when the API server is away, refuses, or holds objects that no server should have let in. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AccessToken, DenyRule } from '../../lab/api/access.ts';
import { policyObject } from '../support/builders.ts';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';

const FRIENDS = (...names: readonly string[]) => ({
  podSelector: { matchLabels: { pod: 'server' } },
  ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: 'pod', operator: 'In', values: names }] } }] }],
});

describe('agent and API server', function () {
  this.timeout(30_000);
  before(skipUnlessRoot);

  describe('gone', () => {
    let t: AgentLab;
    before(async () => {
      t = await AgentLab.create();
      await t.pods({ 'x/server': {}, 'x/a': {}, 'x/b': {} });
      t.policy('x/p', FRIENDS('a'));
    });
    after(() => t?.close());
    afterEach(() => t.lab.publication.resume('node-1'));

    it('fault: started while it is away: the kernel is left alone and /readyz says why; then it catches up', async () => {
      const before = await t.kernelText('node-1', undefined);
      await t.lab.publication.pause('node-1');
      const agent = t.launch();
      await until(
        async () => /refused/.test(JSON.stringify((await agent.readiness().catch(() => undefined))?.missing ?? '')),
        () => agent.tail(),
      );
      const { status, missing } = await agent.readiness();
      assert.equal(status, 503);
      assert.match(missing['informers-synced']!, /pods: .*127\.0\.0\.1:6443/);
      assert.match(missing['first-commit']!, /not written/);
      assert.equal((await agent.get('/healthz')).status, 200);
      await sleep(1500);
      assert.equal(await t.kernelText('node-1', undefined), before);
      await t.expect(['x/a -> x/server', 'x/b -> x/server']);

      await t.lab.publication.resume('node-1');
      const ms = await t.expect(['x/a -> x/server', 'x/b -x x/server']);
      assert.ok(ms < 2500, `enforced ${ms} ms after the API server came back`);
      await agent.ready();
    });

    it('fault: away for a while: rules stay, agent lives, what changed meanwhile is enforced soon after', async () => {
      const agent = t.agents.get('node-1')!;
      const before = await t.restingText();
      const probe = await t.repeat('x/b', 'x/server');
      await t.lab.publication.pause('node-1');
      t.policy('x/p', FRIENDS('b'));
      await sleep(6000);
      assert.ok(agent.running);
      assert.equal(await t.kernelText(), before);
      assert.deepEqual(
        (await probe.stop()).changes.map(({ outcome }) => outcome),
        ['blocked'],
      );
      assert.equal((await agent.readiness()).status, 200, 'enforcement goes on');
      assert.ok((await agent.metric('portcullis_watch_staleness_seconds', { kind: 'networkpolicies' })) > 1);
      const { watches } = JSON.parse((await agent.get('/readyz?verbose')).body) as {
        watches: { kind: string; staleSeconds: number; problem?: string }[];
      };
      assert.ok(watches.every(({ staleSeconds, problem }) => staleSeconds > 1 && /refused/.test(problem ?? '')));

      await t.lab.publication.resume('node-1');
      const ms = await t.expect(['x/a -x x/server', 'x/b -> x/server']);
      assert.ok(ms < 2500, `enforced ${ms} ms after the API server came back`);
    });

    it('fault: answers every request with an error for a while', async () => {
      const agent = t.agents.get('node-1')!;
      const end = t.lab.server.faults.add({ action: { kind: 'status', code: 503, message: 'starting' } });
      t.lab.server.faults.endWatches('reset');
      t.policy('x/p', FRIENDS('a', 'b'));
      await sleep(500);
      await t.expect(['x/a -x x/server', 'x/b -> x/server']);
      assert.ok(agent.running);
      end();
      await t.expect(['x/a -> x/server', 'x/b -> x/server'], 8000);
    });
  });

  it('fault: does not let one agent list policies: only that one waits, and says what to grant', async () => {
    const deny: DenyRule[] = [{ resource: 'networkpolicies', verb: '*' }];
    const tokens: AccessToken[] = [{ token: 'everything' }, { token: 'no-policies', user: 'system:poor', deny }];
    const t = await AgentLab.create({ nodes: ['node-1', 'node-2'], tokens });
    try {
      await t.pods({ 'x/server': {}, 'x/other': { node: 'node-2' }, 'x/a': {} });
      t.policy('x/all', { podSelector: {}, policyTypes: ['Ingress'] });
      const before = await t.kernelText('node-1', undefined);
      const poor = t.launch('node-1', { token: 'no-policies' });
      await t.start('node-2');
      await t.expect(['x/a -x x/other', 'x/a -> x/server']);
      // A 403 that is not three seconds old blames nobody, and up to two more pass until the next answer.
      const line = await poor.logged((entry) => /networkpolicies/.test(entry.message), 'refusal', 0, 10_000);
      assert.equal(line.level, 'warn');
      assert.match(line.message, /not allowed to (watch|list) networkpolicies/);
      assert.match(line.message, /ClusterRole.*apiGroups: \["networking.k8s.io"\].*verbs: \["list", "watch"\]/);
      assert.match(line.message, /system:poor/);
      const { status, missing } = await poor.readiness();
      assert.equal(status, 503);
      assert.match(missing['informers-synced']!, /networkpolicies: not allowed/);
      assert.equal(await t.kernelText('node-1', undefined), before);
      deny.length = 0;
      await t.expect(['x/a -x x/other', 'x/a -x x/server'], 8000);
      await poor.ready();
    } finally {
      await t.close();
    }
  });

  describe('holds malformed policies', () => {
    let t: AgentLab;
    before(async () => {
      t = await AgentLab.create();
      await t.pods({
        'x/bad': { labels: { app: 'bad' } },
        'x/good': { labels: { app: 'good' } },
        'x/a': {},
        'y/free': {},
      });
      t.policy('x/good', {
        podSelector: { matchLabels: { app: 'good' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'a' } } }] }],
      });
      await t.start();
      await t.expect(['x/a -> x/good', 'y/free -x x/good', 'x/a -> x/bad', 'y/free -> x/bad']);
    });
    after(() => t?.close());

    const subject = { podSelector: { matchLabels: { app: 'bad' } } };
    const cases: readonly (readonly [string, string, Record<string, unknown>])[] = [
      [
        'an unknown operator',
        'spec.ingress[0].from[0].podSelector.matchExpressions[0].operator',
        {
          ...subject,
          ingress: [
            { from: [{ podSelector: { matchExpressions: [{ key: 'pod', operator: 'Like', values: ['a'] }] } }] },
          ],
        },
      ],
      [
        'a bad CIDR',
        'spec.ingress[0].from[0].ipBlock.cidr',
        {
          ...subject,
          ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/64' } }] }],
        },
      ],
      [
        'a hostile CIDR',
        'spec.ingress[0].from[0].ipBlock.cidr',
        {
          ...subject,
          ingress: [{ from: [{ ipBlock: { cidr: '0.0.0.0/0\n-A PCL-FWD -j ACCEPT' } }] }],
        },
      ],
      ['wrong types', 'spec.ingress', { ...subject, policyTypes: ['Ingress'], ingress: 'all' }],
      ['a wrong port', 'spec.ingress[0].ports[0]', { ...subject, ingress: [{ ports: [{ port: 99999 }] }] }],
      [
        'an unknown field in a peer',
        'spec.ingress[0].from[0]',
        {
          ...subject,
          ingress: [{ from: [{ podSelector: {}, serviceAccountSelector: {} }] }],
        },
      ],
      ['an unknown policyType', 'spec.policyTypes[0]', { ...subject, policyTypes: ['Ingres'] }],
    ];
    for (const [title, field, spec] of cases) {
      it(`fault: ${title}: its pods are closed, everything else goes on`, async () => {
        const agent = t.agents.get('node-1')!;
        const from = agent.log.length;
        const object = policyObject('x/hostile', spec);
        t.lab.store.putUnchecked('networkpolicies', object as never);
        await t.expect(['x/a -x x/bad', 'y/free -x x/bad', 'x/a -> x/good', 'y/free -x x/good', 'x/a -> y/free']);
        // That the one before is solved may be read as late as this.
        const isProblem = ({ message }: { readonly message: string }): boolean =>
          message.startsWith('NetworkPolicy x/hostile');
        const line = await agent.logged(isProblem, 'x/hostile', from);
        assert.equal(line.level, 'warn');
        assert.ok(line.message.startsWith(`NetworkPolicy x/hostile: ${field}`), line.message);
        assert.equal((await agent.readiness()).status, 200);
        assert.ok((await agent.metric('portcullis_policy_problems')) > 0);
        t.deletePolicy('x/hostile');
        await t.expect(['x/a -> x/bad', 'y/free -> x/bad']);
        await agent.logged((entry) => entry.message.startsWith('solved: NetworkPolicy x/hostile'), 'solved', from);
        assert.equal(await agent.metric('portcullis_policy_problems'), 0);
      });
    }
  });
});
