/** Every rule that allows something knows the policy rules it stands for, however many were merged into it. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readManifests, snapshotFromObjects } from '../../../../src/cluster/read-manifests.ts';
import { compileNode, renderNode } from '../../../support/stages.ts';
import { MAX_OWN_SETS } from '../../../../src/compile/shared-peers.ts';
import { FAMILIES } from '../../../../src/core/vocabulary.ts';
import type { Rule } from '../../../../src/dataplane/iptables/rules/rule.ts';
import type { RuleRef } from '../../../../src/policy/model.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';

const ENFORCE = { ...LAYOUT, mode: 'enforce' } as const;

const name = ({ policy: { namespace, name }, direction, index }: RuleRef): string =>
  `${namespace}/${name} ${direction} ${index}`;

/** A pod's way to itself is no policy's. */
const allows = ({ matches, target }: Rule): boolean =>
  target.kind === 'return' && !matches.some(({ kind }) => kind === 'same-address');

function originsOf(rules: readonly Rule[]): readonly string[] {
  return [...new Set(rules.flatMap(({ by = [] }) => by.map(name)))].sort();
}

describe('origins of rules', () => {
  it('every allow rule of the golden nodes, in both directions of its flows', async () => {
    const root = join(import.meta.dirname, '../../../golden');
    let seen = 0;
    for (const folder of await readdir(root, { withFileTypes: true })) {
      if (!folder.isDirectory()) continue;
      const { objects } = await readManifests([join(root, folder.name, 'input.yaml')]);
      const intent = compileNode(snapshotFromObjects(objects, { defaultNamespace: 'default' }), 'node-1');
      const { families } = renderNode(intent, ENFORCE);
      for (const family of FAMILIES) {
        for (const { chain, reply, direction, policies } of families[family].endpointChains.values()) {
          const [asked, answered] = [chain.rules.filter(allows), reply!.rules.filter(allows)];
          for (const rule of [...asked, ...answered]) {
            assert.ok(rule.by && rule.by.length > 0, JSON.stringify(rule));
            assert.ok(
              rule.by.every((ref) => ref.direction === direction && policies.some((p) => p.name === ref.policy.name)),
            );
            seen++;
          }
          assert.deepEqual(
            asked.map(({ by }) => by),
            answered.map(({ by }) => by),
          );
          for (const rule of chain.rules.filter((each) => !allows(each))) assert.equal(rule.by, undefined);
        }
      }
    }
    assert.ok(seen > 20, String(seen));
  });

  it('equal rules of several policies are one, and know all of them', () => {
    const web = { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }, { ports: [{ port: 81 }] }] };
    const intent = compileNode(
      snapshot({ pods: [pod('x/a', { addresses: ['10.0.0.1'] })], policies: [policy('x/p', web), policy('x/q', web)] }),
      'node-1',
    );
    const [endpoint] = renderNode(intent, ENFORCE).families[4].endpointChains.values();
    assert.deepEqual(
      endpoint!.chain.rules.filter(allows).map((rule) => originsOf([rule])),
      [
        ['x/p ingress 0', 'x/q ingress 0'],
        ['x/p ingress 1', 'x/q ingress 1'],
      ],
    );
  });

  it('a rule with a set that many rules share knows all of them', () => {
    const count = MAX_OWN_SETS + 8;
    const policies = Array.from({ length: count }, (_, index) =>
      policy(`x/p${index}`, {
        podSelector: {},
        ingress: [{ from: [{ podSelector: { matchLabels: { [`k${index}`]: '1' } } }] }],
      }),
    );
    const intent = compileNode(snapshot({ pods: [pod('x/a', { addresses: ['10.0.0.1'] })], policies }), 'node-1');
    const [endpoint] = renderNode(intent, ENFORCE).families[4].endpointChains.values();
    const rules = endpoint!.chain.rules.filter(allows);
    assert.ok(rules.length < count, 'nothing was shared');
    assert.deepEqual(originsOf(rules), policies.map((each) => `x/${each.name} ingress 0`).sort());
  });
});
