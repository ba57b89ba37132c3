/** Policies that are co-selected share sets until a local pod parts them, whatever came before. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import { compileNode } from '../support/stages.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { CoSelection } from '../../src/compile/co-selection.ts';
import { MAX_OWN_PORTS, MAX_OWN_SETS } from '../../src/compile/shared-peers.ts';
import { type ClusterSnapshot, objectKey, type Pod, type Policy } from '../../src/policy/model.ts';
import { runSync } from '../../src/core/sliced.ts';
import { runs } from '../property/runs.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { createFakeNode, enforce } from '../support/fake-cluster.ts';
import { type Packet, trace } from '../support/tracer.ts';

const MANY = MAX_OWN_SETS + 1;

/** Policy n lets peer n in, to pods of the app that are not labelled `word-<n>`. */
function cluster(count: number, ...more: readonly Pod[]): ClusterSnapshot {
  const numbers = Array.from({ length: count }, (_, n) => n);
  const peers = numbers.map((n) =>
    pod(`x/peer-${n}`, { nodeName: 'node-2', labels: { peer: `p${n}` }, addresses: [`10.0.1.${n}`] }),
  );
  const policies = numbers.map((n) =>
    policy(`x/p${n}`, {
      podSelector: {
        matchLabels: { app: 'subject' },
        matchExpressions: [{ key: `word-${n}`, operator: 'DoesNotExist' }],
      },
      ingress: [{ from: [{ podSelector: { matchLabels: { peer: `p${n}` } } }], ports: [{ port: 80 }] }],
    }),
  );
  return snapshot({ pods: [endpoint('x/endpoint', 1), ...peers, ...more], policies });
}

function endpoint(key: string, last: number, labels: Pod['labels'] = {}): Pod {
  return pod(key, { labels: { app: 'subject', ...labels }, addresses: [`10.0.0.${last}`] });
}

const stranger = endpoint('x/stranger', 2, { 'word-0': '' });
const sizes = (intent: NodeIntent): number[] =>
  [...intent.addressSets.values()].filter(({ family }) => family === 4).map(({ members }) => members.size);
const asText = ({ programs, endpoints, addressSets }: NodeIntent): string =>
  JSON.stringify([
    programs,
    endpoints,
    [...addressSets.values()].map(({ key, members }) => JSON.stringify([key, ...members])).sort(),
  ]);

describe('policies that occur together', () => {
  it('are those in the same programs, each named by the place of the first', () => {
    const draft = new CoSelection().draft();
    for (const policies of ['abc', 'ab', 'c']) draft.add(policies, policies.split(''));
    assert.deepEqual(draft.groupsOf(['a', 'b', 'c']), [0, 0, 2]);
    assert.deepEqual(draft.groupsOf(['c']), [0]);
  });

  it('of which a change of programs names those whose answer may be another, and leaves no trace unless it is committed', () => {
    const programs = fc.uniqueArray(
      fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1 }).map((names) => names.sort().join('')),
      { minLength: 1, maxLength: 8 },
    );
    const groups = (all: readonly string[], of: string): readonly number[] => {
      const draft = new CoSelection().draft();
      for (const each of all) draft.add(each, each.split(''));
      return draft.groupsOf(of.split(''));
    };
    let regrouped = 0;
    fc.assert(
      fc.property(fc.array(programs, { minLength: 2, maxLength: 4 }), programs, (walk, left) => {
        const coSelection = new CoSelection();
        let before: readonly string[] = [];
        const change = (after: readonly string[]) => {
          const draft = coSelection.draft();
          for (const each of after) if (!before.includes(each)) draft.add(each, each.split(''));
          for (const each of before) if (!after.includes(each)) draft.remove(each, each.split(''));
          return draft;
        };
        for (const after of walk) {
          change(left);
          const draft = change(after);
          for (const each of after) {
            assert.deepEqual(draft.groupsOf(each.split('')), groups(after, each));
            const isOther = before.includes(each) && String(groups(before, each)) !== String(groups(after, each));
            if (!isOther) continue;
            assert.ok(draft.regrouped().has(each), `${each} of ${before.join()} to ${after.join()}`);
            regrouped++;
          }
          runSync(draft.commit());
          before = after;
        }
      }),
      runs(300),
    );
    assert.ok(regrouped > 50, `regrouped ${regrouped} times`);
  });

  it('of one direction: that one of them has rules of the other as well parts nothing', () => {
    const one = cluster(MANY);
    const both = policy('x/p0', { podSelector: { matchLabels: { app: 'subject' } }, ingress: [{}], egress: [{}] });
    const policies = [...one.policies.values()].map(
      (each, n): Policy => (n > 0 ? each : { ...both, ingress: each.ingress }),
    );
    assert.deepEqual(sizes(compileNode(snapshot({ pods: [...one.pods.values()], policies }), 'node-1')), [MANY]);
  });

  it('a local pod that some of them do not select parts them, and its leaving puts them together again', () => {
    const compiler = new NodeCompiler('node-1');
    const one = cluster(2 * MANY);
    loadSnapshot(compiler, one);
    const before = compiler.intent();
    assert.deepEqual(sizes(before), [2 * MANY]);
    compiler.pod(objectKey(stranger), stranger);
    const parted = compiler.intent();
    assert.deepEqual(
      sizes(parted).toSorted((a, b) => a - b),
      [1, 2 * MANY - 1],
    );
    assert.equal(asText(parted), asText(compileNode(cluster(2 * MANY, stranger), 'node-1')));
    compiler.pod(objectKey(stranger), undefined);
    assert.equal(asText(compiler.intent()), asText(before));
  });

  it('a class whose policies are parted to no effect, or not at all, stays the object it is', () => {
    for (const [count, arrives] of [
      [MAX_OWN_SETS, stranger],
      [2 * MANY, endpoint('x/twin', 2)],
      [2 * MANY, pod('x/other', { addresses: ['10.0.0.2'] })],
    ] as const) {
      const compiler = new NodeCompiler('node-1');
      loadSnapshot(compiler, cluster(count));
      const [known] = compiler.intent().programs;
      compiler.pod(objectKey(arrives), arrives);
      assert.ok(compiler.intent().programs.includes(known!), arrives.name);
    }
  });
});

describe('a set of peers with their ports', () => {
  const numbers = Array.from({ length: 2 * MAX_OWN_PORTS }, (_, n) => n);
  const policies = numbers.map((n) => {
    const peers = [{ podSelector: { matchLabels: { peer: `p${n}` } } }];
    const ports = [{ port: 80 + n }];
    return policy(`x/p${n}`, {
      podSelector: { matchLabels: { app: 'subject' } },
      ingress: [{ from: peers, ports }],
      egress: [{ to: peers, ports }],
    });
  });
  const peers = numbers.map((n) =>
    pod(`x/peer-${n}`, { nodeName: 'node-2', labels: { peer: `p${n}` }, addresses: [`10.0.1.${n}`] }),
  );

  it('judges a question and, without it, its answer, by the port of the server', async () => {
    const node = createFakeNode('node-1');
    await enforce(node, snapshot({ pods: [endpoint('x/endpoint', 1), ...peers], policies }));
    const verdicts = (source: string, destination: string, port: number): readonly string[] => {
      const question: Packet = { family: 4, source, destination, protocol: 6, port, sourcePort: 40_000 };
      const answer: Packet = { ...question, source: destination, destination: source, port: 40_000, sourcePort: port };
      const live = { state: 'ESTABLISHED', direction: 'REPLY' } as const;
      return [question, { ...answer, ...live }].map((packet) => trace(node.kernel.state(), packet));
    };
    for (const [from, to] of [
      ['10.0.1.3', '10.0.0.1'],
      ['10.0.0.1', '10.0.1.3'],
    ] as const) {
      assert.deepEqual(verdicts(from, to, 83), ['passed', 'passed'], `${from} to ${to}`);
      assert.deepEqual(verdicts(from, to, 84), ['dropped', 'dropped'], `${from} to ${to}`);
    }
  });
});

describe('a remote pod on a node whose rules share a set of peers with their ports', () => {
  const PORTS = 2 * MAX_OWN_PORTS;
  const policies = Array.from({ length: PORTS }, (_, n) =>
    policy(`x/p${n}`, {
      podSelector: { matchLabels: { app: 'subject' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { [`to-${n}`]: '' } } }], ports: [{ port: 80 + n }] }],
    }),
  );
  const remote = (labels: Pod['labels']): Pod =>
    pod('x/remote', { nodeName: 'node-2', labels, addresses: ['10.0.1.1', 'fd00::1'] });
  const withRemote = (...pods: readonly Pod[]): ClusterSnapshot =>
    snapshot({ pods: [endpoint('x/endpoint', 1), ...pods], policies });

  it('compiles no class: each class is the object it was', () => {
    const compiler = new NodeCompiler('node-1');
    loadSnapshot(compiler, withRemote());
    const { programs } = compiler.intent();
    assert.equal(compiler.pod('x/remote', remote({ 'to-1': '', 'to-3': '' })), true);
    const intent = compiler.intent();
    assert.equal(intent.programs, programs);
    const entries = [...intent.addressPortSets.values()].flatMap(({ members }) => [...members.keys()]);
    assert.deepEqual(entries, ['10.0.1.1,6:81', '10.0.1.1,6:83', 'fd00::1,6:81', 'fd00::1,6:83']);
  });

  it('writes entries and no rule, as it comes, gets another port, and goes', async () => {
    const node = createFakeNode('node-1');
    await enforce(node, withRemote());
    const steps = async (...pods: readonly Pod[]): Promise<unknown> => {
      const { plan } = await enforce(node, withRemote(...pods));
      return plan!.steps.map(({ kind, lines }) => [kind, ...lines.map(({ text }) => text.replace(/PCL4-\w+/, 'SET'))]);
    };
    assert.deepEqual(await steps(remote({ 'to-1': '' })), [['add-members', 'add SET 10.0.1.1,6:81']]);
    assert.deepEqual(await steps(remote({ 'to-1': '', 'to-2': '' })), [['add-members', 'add SET 10.0.1.1,6:82']]);
    // What says that an address was released is made with the first.
    const [[kind, sign, ...lines]] = (await steps()) as [string[]];
    assert.match(sign!, /^create SET hash:ip family inet /);
    assert.deepEqual([kind, ...lines], ['remove-members', 'del SET 10.0.1.1,6:81', 'del SET 10.0.1.1,6:82']);
  });
});
