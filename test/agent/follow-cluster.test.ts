/** What a change is about, and what of it is compiled in the sync that finds it. */
import assert from 'node:assert/strict';
import { ClusterFollower } from '../../src/agent/follow-cluster.ts';
import type { Lane } from '../../src/agent/pace.ts';
import type { ClusterChange } from '../../src/cluster/watch-cluster.ts';
import { acceptRules } from '../../src/compile/program.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { after } from '../../src/core/clock.ts';
import type { ObjectKind } from '../../src/core/vocabulary.ts';
import type { Policy } from '../../src/policy/model.ts';
import { namespace, pod, policy, snapshot } from '../support/builders.ts';

/** Of rules, by their length more than is compiled in any sync. */
const LONG_BYTES = 2 * 1024 * 1024;
const PEERS = 30;

const open = (count: number): object[] =>
  Array.from({ length: count }, (_, n) => ({
    from: [{ podSelector: { matchLabels: { app: `a${n}` } } }],
    ports: [{ port: 80 + n }],
  }));
const short = (key: string, rules: number): Policy => policy(key, { podSelector: {}, ingress: open(rules) });
const long = (key: string, rules: number): Policy => ({ ...short(key, rules), ruleBytes: LONG_BYTES });

/** A clock that moves by `stepMs` whenever it is read: so long takes each step of work. */
function follow(policies: readonly Policy[], stepMs: number) {
  const pods = [
    ...policies.map((each, n) => pod(`${each.namespace}/local`, { addresses: [`10.0.0.${n + 1}`] })),
    pod('x/remote', { nodeName: 'node-2', addresses: ['10.0.1.1'], labels: { app: 'a0' } }),
  ];
  const cluster = snapshot({ pods, policies });
  let nowMs = 0;
  let compiled = 0;
  const told: (() => void)[] = [];
  const clock = { now: () => (nowMs += stepMs), after: (_: number, action: () => void) => after(0, action) };
  const onCompiled = (): void => {
    compiled++;
    for (const tell of told.splice(0)) tell();
  };
  const follower = new ClusterFollower({ snapshot: () => cluster }, 'node-1', clock, onCompiled);
  const change = (kind: ObjectKind, key: string, changed: ClusterChange['after'], before?: ClusterChange['after']) =>
    follower.change({
      kind,
      key,
      type: 'changed',
      ...(before ? { before } : {}),
      ...(changed ? { after: changed } : {}),
      arrivedAtMs: 0,
    });
  change('nodes', 'node-1', { name: 'node-1', addresses: [] } as ClusterChange['after']);
  for (const [key, each] of cluster.pods) change('pods', key, each);
  for (const each of policies) change('networkpolicies', `${each.namespace}/${each.name}`, each);
  return {
    follower,
    change,
    edit: (each: Policy) => change('networkpolicies', `${each.namespace}/${each.name}`, each),
    compiled: () => compiled,
    nextCompiled: () => new Promise<void>((resolve) => void told.push(resolve)),
    elapsed: () => nowMs,
  };
}

/** By namespace: how many of its policies' rules are in its program. */
const rulesOf = ({ programs }: NodeIntent): Record<string, number> =>
  Object.fromEntries(
    programs.map((program) => [program.policies[0]!.namespace, acceptRules(program).flatMap(({ by }) => by).length]),
  );

describe('an edit of a namespace with much to compile', () => {
  it('is in the intent of the sync that finds it, if that takes a few milliseconds', async () => {
    const { follower, edit, compiled } = follow([long('x/p', 2)], 0.01);
    await follower.intent('rules');
    edit(long('x/p', 3));
    const intent = await follower.intent('rules');
    assert.deepEqual([rulesOf(intent), intent.waiting], [{ x: 3 }, []]);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(compiled(), 0, 'nothing is left to ask another sync for');
  });

  it('is compiled on beside the syncs if that takes longer, and what others change does not wait for it', async () => {
    const { follower, edit, nextCompiled } = follow([long('slow/p', 2), short('x/p', 2)], 3);
    await follower.intent('rules');
    edit(long('slow/p', PEERS));
    edit(short('x/p', 1));
    const done = nextCompiled();
    const first = await follower.intent('rules');
    assert.deepEqual([rulesOf(first), first.waiting], [{ slow: 2, x: 1 }, ['slow']]);
    await done;
    const second = await follower.intent('rules');
    assert.deepEqual([rulesOf(second), second.waiting], [{ slow: PEERS, x: 1 }, []]);
  });

  it('fault: many such namespaces: together they hold a sync up no longer than one', async () => {
    const names = Array.from({ length: 12 }, (_, n) => `slow-${n}`);
    const { follower, edit, elapsed } = follow([...names.map((name) => long(`${name}/p`, 2)), short('x/p', 2)], 3);
    await follower.intent('rules');
    const took: number[] = [];
    for (let sync = 0; sync < 4; sync++) {
      for (const name of names) edit(long(`${name}/p`, PEERS + sync));
      edit(short('x/p', sync));
      const before = elapsed();
      const intent = await follower.intent('rules');
      took.push(elapsed() - before);
      assert.equal(rulesOf(intent).x, sync);
      assert.ok(intent.waiting.length >= names.length - 1, intent.waiting.join(' '));
    }
    // 25 ms of theirs; the rest is the quick namespace, and work beside the syncs that reads the same clock.
    assert.ok(Math.max(...took) < 250, took.join(' '));
  });

  it('fault: one that is edited without end is begun again when what was begun is at its end, and piles up nothing', async () => {
    const { follower, edit, nextCompiled, compiled } = follow([long('slow/p', 2)], 5);
    await follower.intent('rules');
    let done = nextCompiled();
    for (let sync = 0; sync < 6; sync++) {
      edit(long('slow/p', PEERS + sync));
      await follower.intent('rules');
    }
    for (let round = 0; round < 3; round++) {
      await done;
      done = nextCompiled();
      const intent = await follower.intent('rules');
      if (intent.waiting.length === 0) break;
    }
    assert.deepEqual(rulesOf(await follower.intent('rules')), { slow: PEERS + 5 });
    assert.ok(compiled() <= 2, `${compiled()} times beside the syncs, for six edits`);
  });
});

describe('what a change is about', () => {
  const remote = pod('x/remote', { nodeName: 'node-2', addresses: ['10.0.1.1'], labels: { app: 'a0' } });
  const local = pod('x/local', { addresses: ['10.0.0.1'] });
  const rows: readonly (readonly [
    string,
    ObjectKind,
    string,
    ClusterChange['after'],
    ClusterChange['after'],
    Lane | undefined,
  ])[] = [
    [
      'a pod of another node loses a label that rules name',
      'pods',
      'x/remote',
      remote,
      { ...remote, labels: {} },
      'members',
    ],
    ['it is deleted', 'pods', 'x/remote', remote, undefined, 'members'],
    [
      'one that no rule names comes',
      'pods',
      'y/other',
      undefined,
      pod('y/other', { nodeName: 'node-2', addresses: ['10.0.1.9'] }),
      undefined,
    ],
    [
      'it takes the address of a local pod',
      'pods',
      'x/remote',
      remote,
      { ...remote, addresses: ['10.0.0.1'], addressesSince: 9 },
      'rules',
    ],
    ['a local pod gets other labels', 'pods', 'x/local', local, { ...local, labels: { app: 'b' } }, 'rules'],
    ['a local pod comes', 'pods', 'x/new', undefined, pod('x/new', { addresses: ['10.0.0.9'] }), 'rules'],
    ['a local pod is deleted', 'pods', 'x/local', local, undefined, 'rules'],
    ['a policy for local pods', 'networkpolicies', 'x/p', short('x/p', 2), short('x/p', 1), 'rules'],
    ['a policy for pods elsewhere', 'networkpolicies', 'y/p', undefined, short('y/p', 1), 'members'],
    ['a namespace gets other labels', 'namespaces', 'x', undefined, namespace('x', { team: 'a' }), undefined],
    [
      'the node',
      'nodes',
      'node-1',
      undefined,
      { name: 'node-1', addresses: ['192.0.2.1'] } as ClusterChange['after'],
      'rules',
    ],
  ];
  for (const [name, kind, key, before, changed, lane] of rows) {
    it(`${name}: ${lane ?? 'nothing'}`, async () => {
      const { follower, change } = follow([short('x/p', 2)], 0);
      await follower.intent('rules');
      assert.equal(change(kind, key, changed, before), lane);
    });
  }

  it('a sync of members takes in members, and leaves rules for later without compiling them beside it', async () => {
    const { follower, edit, change, compiled } = follow([short('x/p', 2), long('slow/p', 2)], 0.01);
    change('pods', 'x/other', pod('x/other', { addresses: ['10.0.0.9'] }));
    const started = await follower.intent('rules');
    const members = ({ addressSets }: NodeIntent): number =>
      [...addressSets.values()].reduce((sum, set) => sum + set.members.size, 0);
    assert.equal(members(started), 1);
    edit(short('x/p', 1));
    edit(long('slow/p', 1));
    change('pods', 'x/local', undefined, local);
    change('pods', 'x/remote', undefined, remote);
    const intent = await follower.intent('members');
    assert.deepEqual([rulesOf(intent), intent.waiting], [{ x: 2, slow: 2 }, ['slow', 'x']]);
    assert.equal(members(intent), 0);
    assert.equal(intent.localAddresses.get('10.0.0.1'), undefined, 'an address that nobody has is nobody’s at once');
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(compiled(), 0);
    const whole = await follower.intent('rules');
    assert.deepEqual([rulesOf(whole), whole.waiting], [{ x: 1, slow: 1 }, []]);
  });
});
