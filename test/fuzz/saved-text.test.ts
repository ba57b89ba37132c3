/** What `iptables-save` and `ipset save` print, and what they never would: nothing throws, and a plan always repairs. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode, renderNode } from '../support/stages.ts';
import { diff } from '../../src/dataplane/iptables/plan/diff.ts';
import { findDrift } from '../../src/dataplane/iptables/drift/find-drift.ts';
import { isEmptyPlan, type ObservedState } from '../../src/dataplane/iptables/plan/plan.ts';
import { readSavedRules, readSavedSets } from '../support/read-saved.ts';
import { teardown } from '../../src/dataplane/iptables/plan/teardown.ts';
import { createFakeNode, enforce, LAYOUT } from '../support/fake-cluster.ts';
import type { FakeKernel } from '../support/fake-kernel.ts';
import { cluster, NODE } from '../property/clusters.ts';
import { runs } from '../property/runs.ts';

const CHAINS = ['PCL-FWD', 'PCL-INP', 'PCL-EG', 'PCL-IN', 'PCL-EG-1', 'PCL-E-closed', 'PCL-I-aaaaaaaaaaaaaaaa'];
const STRANGERS = ['PCL', 'PCLX-FWD', 'PC-L', 'pcl-fwd', 'XPCL-FWD', 'KUBE-FORWARD', 'FORWARD', 'INPUT'];
const SETS = ['PCL4-aaaaaaaaaaaaaaaa', 'PCL6-aaaaaaaaaaaaaaaa', 'PCL4-', 'PCL5-x', 'PCL-4', 'KUBE-LOOP'];

const name = fc.constantFrom(...CHAINS, ...STRANGERS);
const rule = fc.constantFrom(
  ...['-j RETURN', '-j DROP', '-g PCL-E-closed', '-s 10.0.0.1/32 -g PCL-I-aaaaaaaaaaaaaaaa', '', ' ', '-s'],
  ...['-m set --match-set PCL4-aaaaaaaaaaaaaaaa src -j RETURN', '-m set --match-set', '-j PCL-FWD', '-s x/y -g PCL-'],
  ...['-m connmark --mark 0xff000000/0xff000000 -j RETURN', '-m connmark --mark 0x/0x', '-j CONNMARK --set-xmark'],
);
const line = fc.oneof(
  fc.constantFrom('*mangle', '*nat', '*', 'COMMIT', '', '# x', '*mangle '),
  name.map((chain) => `:${chain} - [0:0]`),
  fc.tuple(name, rule).map(([chain, text]) => `-A ${chain} ${text}`),
  fc.constantFrom('-A', '-A ', ':', ':PCL-', '-A PCL-', '-A PCL-FWD', ':PCL-FWD'),
  fc.constantFrom(...SETS).map((set) => `create ${set} hash:ip family inet hashsize 64 maxelem 65536 bucketsize 12`),
  fc
    .tuple(fc.constantFrom(...SETS), fc.constantFrom('10.0.0.1', '10.0.0.0/8', 'fd00::1,tcp:80', ',', ':', '', 'x,y'))
    .map(([set, member]) => `add ${set} ${member}`),
  fc.constantFrom(
    'create',
    'create PCL4-x',
    'create PCL4-x hash:ip maxelem',
    'add PCL4-x',
    'add PCL4-',
    'add  PCL4-x 1 nomatch',
  ),
  fc.string({ unit: 'binary', maxLength: 20 }),
);
const text = fc
  .tuple(fc.array(line, { maxLength: 40 }), fc.nat({ max: 2000 }), fc.boolean())
  .map(([lines, cut, isCut]) => (isCut ? lines.join('\n').slice(0, cut) : lines.join('\n')));

/** The rules a text leaves, as `iptables-save` would print them again. */
function byName<T>(entries: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function planned({ families, sets }: ObservedState): unknown {
  return {
    chains: ([4, 6] as const).map((family) => byName(families[family]!.chains)),
    sets: new Map([...byName(sets)].map(([set, { type, members }]) => [set, { type, members: byName(members) }])),
  };
}

describe('fuzz: text of the kernel tools', () => {
  it('whatever it is, it is read, compared and planned for', () => {
    fc.assert(
      fc.property(cluster, text, text, text, (snapshot, rules4, rules6, saved) => {
        const observed = {
          families: { 4: readSavedRules(rules4), 6: readSavedRules(rules6) },
          sets: readSavedSets(saved),
        };
        const desired = renderNode(compileNode(snapshot, NODE), { ...LAYOUT, mode: 'enforce' });
        const plan = diff(desired, observed);
        findDrift(plan.after, observed);
        assert.ok(teardown(observed));
        // What it leaves needs nothing more, and is what a node without any of this would get, but for the epoch.
        assert.ok(isEmptyPlan(diff(desired, plan.after)));
        const empty = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };
        const fresh = diff(desired, { families: { 4: empty, 6: empty }, sets: new Map() });
        const withoutMarks = (state: ObservedState): string =>
          JSON.stringify(planned(state), (_, value: unknown) => (value instanceof Map ? [...value] : value)).replaceAll(
            /0x[0-9a-f]+\/0xff000000/g,
            'GENERATION',
          );
        assert.equal(withoutMarks(plan.after), withoutMarks(fresh.after));
      }),
      runs(120),
    );
  });

  it('whatever a hand did to our chains and sets, the next agent puts it right', async () => {
    let repaired = 0;
    await fc.assert(
      fc.asyncProperty(cluster, fc.array(edit, { minLength: 1, maxLength: 8 }), async (snapshot, edits) => {
        const node = createFakeNode(NODE);
        await enforce(node, snapshot);
        const wanted = comparable(node.kernel);
        const before = node.kernel.foreign();
        for (const each of edits) each(node.kernel);
        const touched = node.kernel.foreign();
        const { plan } = await enforce(createFakeNode(NODE, node.kernel), snapshot, true);
        if (plan && !isEmptyPlan(plan)) repaired++;
        assert.deepEqual(comparable(node.kernel), wanted);
        assert.equal(node.kernel.foreign(), touched, 'what is not ours stays as it is');
        assert.equal(before.length > 0, true);
        const { plan: again } = await enforce(createFakeNode(NODE, node.kernel), snapshot, true);
        assert.deepEqual(again?.steps, []);
      }),
      runs(60),
    );
    assert.ok(repaired > 20, `${repaired} repaired`);
  });
});

type Edit = (kernel: FakeKernel) => void;

/** The kernel may refuse a hand, too. */
const tried =
  (act: (kernel: FakeKernel) => void): Edit =>
  (kernel) => {
    try {
      act(kernel);
    } catch {
      // Refused: then nothing happened.
    }
  };

const ours = (kernel: FakeKernel, family: 4 | 6): readonly (readonly [string, readonly string[]])[] => [
  ...kernel.state().families[family]!.chains,
];

const edit: fc.Arbitrary<Edit> = fc
  .record({ family: fc.constantFrom<4 | 6>(4, 6), which: fc.nat(), other: fc.nat(), kind: fc.nat({ max: 13 }) })
  .map(({ family, which, other, kind }) =>
    tried((kernel) => {
      const chains = ours(kernel, family);
      const [chain = 'PCL-FWD', rules = []] = chains[which % Math.max(1, chains.length)] ?? [];
      const sets = [...kernel.state().sets.values()];
      const set = sets[which % Math.max(1, sets.length)];
      const member = [...(set?.members.keys() ?? [])][0];
      const address = set?.family === 6 ? '2001:db8::7' : '203.0.113.7';
      switch (kind) {
        case 0:
          return kernel.editRules(family, `-I ${chain} 1 -j RETURN`);
        case 1:
          return kernel.editRules(family, `-A ${chain} -j DROP`);
        case 2:
          return kernel.editRules(family, `-D ${chain} ${rules[other % Math.max(1, rules.length)]}`);
        case 3:
          return kernel.editRules(family, `:${chain} - [0:0]`);
        case 4:
          return kernel.editRules(family, ':PCL-E-aaaaaaaaaaaaaaaa - [0:0]', '-A PCL-E-aaaaaaaaaaaaaaaa -j RETURN');
        case 5:
          return kernel.editRules(family, ':PCLX-FWD - [0:0]', '-A PCLX-FWD -j DROP', '-I FORWARD 1 -j PCLX-FWD');
        case 6:
          return kernel.editRules(family, '-D FORWARD -j PCL-FWD');
        case 7:
          return kernel.editRules(family, '-A FORWARD -j PCL-FWD', '-A INPUT -j PCL-INP');
        case 8:
          return kernel.editSets(`add ${set!.name} ${address}${set!.type === 'hash:ip,port' ? ',6:7' : ''}`);
        case 9:
          return kernel.editSets(`del ${set!.name} ${member!}`);
        case 10:
          return kernel.editSets(
            `create PCL${family}-aaaaaaaaaaaaaaaa hash:net family ${family === 4 ? 'inet' : 'inet6'}`,
          );
        case 11:
          return kernel.editSets(`create PCLX-mine hash:ip family inet`, 'add PCLX-mine 203.0.113.9');
        case 12:
          // Left behind by an agent that was killed in the middle of a swap.
          return kernel.editSets(`create ${set!.name}+ ${set!.type} family ${set!.family === 4 ? 'inet' : 'inet6'}`);
        default: {
          const [found = 'PCL-FWD'] = chains[other % Math.max(1, chains.length)] ?? [];
          return kernel.editRules(family, `-I ${chain} 1 -s 203.0.113.0/24 -j ${found}`);
        }
      }
    }),
  );

/** Everything of ours but the epoch, and the room sets have. */
function comparable(kernel: FakeKernel): unknown {
  const { families, sets } = kernel.state();
  return {
    rules: ([4, 6] as const).map((family) => {
      const { chains, hooks } = families[family]!;
      const lines = [...chains].map(
        ([chain, all]) => [chain, all.map((each) => each.replace(/0x[0-9a-f]+\/0xff000000/, 'GENERATION'))] as const,
      );
      const own = { FORWARD: hooks.FORWARD, INPUT: hooks.INPUT };
      return { chains: new Map(lines), first: [own.FORWARD[0], own.INPUT[0]] };
    }),
    sets: new Map([...sets].map(([set, { type, members }]) => [set, { type, members }])),
  };
}
