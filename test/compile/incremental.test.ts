/** The compiler has a memory; its answer must not show it. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NodeCompiler, loadSnapshot } from '../../src/compile/compile-node.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { NAMESPACE_LIMITS, type NamespaceLimits } from '../../src/compile/limits.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { diff } from '../../src/dataplane/iptables/plan/diff.ts';
import { isReleasedSign } from '../../src/dataplane/iptables/plan/released.ts';
import type { ObservedState } from '../../src/dataplane/iptables/plan/plan.ts';
import { NodeRenderer } from '../../src/dataplane/iptables/render/render-node.ts';
import { NODE } from '../property/clusters.ts';
import { type Edit, NOTHING, auditedEdits, crowdedEdits, edited, edits, tell } from '../property/edits.ts';
import { runs } from '../property/runs.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { sharedSets } from '../support/shared-sets.ts';

/** Plain data, in an order of its own. */
function plain(intent: NodeIntent): unknown {
  const members = (all: ReadonlyMap<string, boolean>): unknown => [...all].sort(([a], [b]) => (a < b ? -1 : 1));
  const sets = <T extends { key: string; members: ReadonlyMap<string, boolean> }>(
    all: ReadonlyMap<string, T>,
  ): unknown =>
    [...all.values()]
      .map((set) => ({ ...set, members: members(set.members) }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  const { endpoints, programs, audits, localAddresses, addressSets, addressPortSets, policyCount, problems } = intent;
  return {
    endpoints,
    programs,
    audits,
    localAddresses: [...localAddresses].sort(([a], [b]) => (a < b ? -1 : 1)),
    addressSets: sets(addressSets),
    addressPortSets: sets(addressPortSets),
    policyCount,
    problems,
  };
}

/** Of the snapshot alone. */
function compileNode(snapshot: ClusterSnapshot, limits: NamespaceLimits = NAMESPACE_LIMITS): NodeIntent {
  const compiler = new NodeCompiler(NODE, undefined, limits);
  loadSnapshot(compiler, snapshot);
  return compiler.intent();
}

describe('incremental compilation', () => {
  const givesTheSame = (walk: readonly Edit[], limits?: NamespaceLimits): readonly NodeIntent[] => {
    const compiler = new NodeCompiler(NODE, undefined, limits);
    let snapshot = NOTHING;
    let last = plain(compiler.intent());
    return walk.map((edit) => {
      const changed = tell(compiler, edit);
      snapshot = edited(snapshot, edit);
      const intent = compiler.intent();
      const now = plain(intent);
      assert.deepEqual(now, plain(compileNode(snapshot, limits)));
      if (!changed) assert.deepEqual(now, last);
      last = now;
      return intent;
    });
  };

  it('gives after every change what compiling the snapshot alone gives, and says when it may have changed', () => {
    fc.assert(
      fc.property(edits, (walk) => void givesTheSame(walk)),
      runs(150),
    );
  });

  it('also where many policies share sets, and pods that come and go part them', () => {
    let changes = 0;
    const shared = (intent: NodeIntent): string => [...sharedSets(intent)].join(' ');
    fc.assert(
      fc.property(crowdedEdits, (walk) => {
        const seen = givesTheSame(walk).map(shared);
        const byPods = walk.filter(({ kind }, at) => kind === 'pod' && at > 0 && seen[at] !== seen[at - 1]);
        changes += byPods.length;
      }),
      runs(40),
    );
    assert.ok(changes > 3, `pods changed what is shared ${changes} times`);
  });

  it('also where policies are audited, and addresses claimed by several pods', () => {
    const seen = { audits: 0, alone: 0 };
    fc.assert(
      fc.property(auditedEdits, (walk) => {
        for (const { audits } of givesTheSame(walk)) {
          seen.audits += audits.length;
          seen.alone += audits.filter(({ alone }) => alone).length;
        }
      }),
      runs(100),
    );
    assert.ok(seen.audits > 100 && seen.alone > 20, JSON.stringify(seen));
  });

  for (const [name, limits] of Object.entries({
    sets: { sets: 4 },
    rules: { rules: 3 },
    'rules of a program': { programRules: 1 },
    work: { work: 250 },
    'sets of the node': { nodeSets: 4, sets: 8 },
  })) {
    it(`also at the limit of ${name}, whatever was closed meanwhile`, () => {
      const seen = { closed: 0, opened: 0 };
      const walks = fc.oneof({ weight: 3, arbitrary: edits }, auditedEdits);
      fc.assert(
        fc.property(walks, (walk) => {
          // In the end one policy after the other goes.
          const policies = new Set(walk.flatMap(({ kind, key }) => (kind === 'policy' ? [key] : [])));
          const end = [...policies].map((key): Edit => ({ kind: 'policy', key, value: undefined }));
          const closed = givesTheSame([...walk, ...end], { ...NAMESPACE_LIMITS, ...limits }).map(
            ({ programs }) => programs.filter((program) => program.closed).length,
          );
          for (const [at, count] of closed.entries()) {
            if (count > 0) seen.closed++;
            else if ((closed[at - 1] ?? 0) > 0) seen.opened++;
          }
        }),
        runs(60),
      );
      assert.ok(seen.closed > 3 && seen.opened > 0, JSON.stringify(seen));
    });
  }

  it('leaves the same kernel as starting afresh does, through renderer and planner that skip what did not change', () => {
    fc.assert(
      fc.property(fc.oneof({ weight: 4, arbitrary: edits }, { weight: 1, arbitrary: crowdedEdits }), (walk) => {
        const compiler = new NodeCompiler(NODE);
        const renderer = new NodeRenderer();
        const layout = { ...LAYOUT, mode: 'enforce' } as const;
        let observed = createEmptyState();
        let snapshot = NOTHING;
        for (const [index, edit] of walk.entries()) {
          tell(compiler, edit);
          snapshot = edited(snapshot, edit);
          // Several changes a pass, as when they come fast.
          if (index % 3 !== 0 && index < walk.length - 1) continue;
          const intent = compiler.intent();
          // As the agent does; now and then for a layout that is then not asked for.
          if (index % 2 === 0)
            renderer.renderInSteps(intent, index % 5 === 0 ? { ...layout, mode: 'audit' } : layout).next();
          observed = diff(renderer.render(intent, layout), observed, { remembered: true }).after;
        }
        const fresh = diff(new NodeRenderer().render(compileNode(snapshot), layout), createEmptyState()).after;
        assert.deepEqual(essence(observed), essence(fresh));
      }),
      runs(150),
    );
  });

  it('says nothing changed when nothing did, and keeps the object', () => {
    fc.assert(
      fc.property(edits, (walk) => {
        const compiler = new NodeCompiler(NODE);
        let snapshot = NOTHING;
        for (const edit of walk) {
          tell(compiler, edit);
          snapshot = edited(snapshot, edit);
        }
        const intent = compiler.intent();
        for (const [key, pod] of snapshot.pods) assert.equal(compiler.pod(key, pod), false);
        assert.equal(compiler.intent(), intent);
      }),
      runs(50),
    );
  });

  it('works in steps that changes may come in between', () => {
    fc.assert(
      fc.property(edits, fc.nat(40), (walk, at) => {
        const compiler = new NodeCompiler(NODE);
        for (const edit of walk.slice(0, at)) tell(compiler, edit);
        const rest = walk.slice(at);
        for (const _ of compiler.work()) if (rest.length > 0) tell(compiler, rest.shift()!);
        for (const edit of rest) tell(compiler, edit);
        const snapshot = walk.reduce(edited, NOTHING);
        assert.deepEqual(plain(compiler.intent()), plain(compileNode(snapshot)));
      }),
      runs(150),
    );
  });
});

function createEmptyState(): ObservedState {
  const empty = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };
  return { families: { 4: empty, 6: empty }, sets: new Map() };
}

function essence({ families, sets }: ObservedState): unknown {
  const rules = ([4, 6] as const).map((family) =>
    [...families[family]!.chains]
      .map(
        ([name, lines]) => [name, lines.map((line) => line.replace(/0x[0-9a-f]+\/0xff000000/, 'GENERATION'))] as const,
      )
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  // A sign of what went before.
  const own = [...sets.values()].filter(({ name }) => !isReleasedSign(name));
  const members = own.map(({ name, type, family, members: all }) => [
    name,
    type,
    family,
    [...all].sort(([a], [b]) => (a < b ? -1 : 1)),
  ]);
  return { rules, sets: members.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)) };
}
