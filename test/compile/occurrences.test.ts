/** Policies that occur together share sets until a local pod parts them, whatever came before. */
import assert from 'node:assert/strict';
import { compileNode, loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { Occurrences } from '../../src/compile/occurrences.ts';
import { MAX_OWN_SETS } from '../../src/compile/shared-peers.ts';
import { type ClusterSnapshot, objectKey, type Pod, type Policy } from '../../src/policy/model.ts';
import { pod, policy, snapshot } from '../support/builders.ts';

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
  return snapshot({ pods: [subject('x/subject', 1), ...peers, ...more], policies });
}

function subject(key: string, last: number, labels: Pod['labels'] = {}): Pod {
  return pod(key, { labels: { app: 'subject', ...labels }, addresses: [`10.0.0.${last}`] });
}

const stranger = subject('x/stranger', 2, { 'word-0': '' });
const sizes = (intent: NodeIntent): number[] =>
  [...intent.addressSets.values()].filter(({ family }) => family === 4).map(({ members }) => members.size);
const asText = ({ classes, subjects, addressSets }: NodeIntent): string =>
  JSON.stringify([classes, subjects, [...addressSets.values()].map(({ key, members }) => [key, ...members])]);

describe('policies that occur together', () => {
  it('are those in the same classes, each named by the place of the first', () => {
    const [a, b, c] = [...cluster(3).policies.values()] as [Policy, Policy, Policy];
    const occurrences = new Occurrences();
    for (const policies of [[a, b, c], [a, b], [c]]) occurrences.add(policies);
    assert.deepEqual(occurrences.together([a, b, c]), [0, 0, 2]);
    assert.deepEqual(occurrences.together([c]), [0]);
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
      [2 * MANY, subject('x/twin', 2)],
      [2 * MANY, pod('x/other', { addresses: ['10.0.0.2'] })],
    ] as const) {
      const compiler = new NodeCompiler('node-1');
      loadSnapshot(compiler, cluster(count));
      const [known] = compiler.intent().classes;
      compiler.pod(objectKey(arrives), arrives);
      assert.ok(compiler.intent().classes.includes(known!), arrives.name);
    }
  });
});
