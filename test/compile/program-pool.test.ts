/** The sums that limits are about are those of the programs that are there, whatever came and went. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NAMESPACE_LIMITS } from '../../src/compile/limits.ts';
import { PeerSets } from '../../src/compile/peer-sets.ts';
import { type NeededProgram, ProgramCompiler } from '../../src/compile/program-compiler.ts';
import { ProgramPool } from '../../src/compile/program-pool.ts';
import { RuleReader } from '../../src/compile/read-rules.ts';
import { runSync } from '../../src/core/sliced.ts';
import type { Policy } from '../../src/policy/model.ts';
import { runs } from '../property/runs.ts';
import { pod, policy } from '../support/builders.ts';

const NAMES = ['a', 'b', 'c', 'd'];
const PEERS = ['p', 'q', 'r'];

/** Lets one of a few peers in; of each name several versions. */
const policyOf = (name: string, version: number): Policy =>
  policy(`x/${name}`, {
    podSelector: {},
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { peer: PEERS[version % PEERS.length]! } } }],
        ports: [{ port: 80 + version }],
      },
    ],
  });
const POLICIES = NAMES.map((name) => Array.from({ length: 4 }, (_, version) => policyOf(name, version)));

/** Which version of each policy, and which sets of policies are needed. */
const state = fc.record({
  versions: fc.tuple(...NAMES.map(() => fc.nat(3))),
  programs: fc.uniqueArray(fc.subarray(NAMES, { minLength: 1 }), { selector: (names) => names.join(), maxLength: 5 }),
});

function pool(peers: PeerSets) {
  const made = new ProgramPool(peers, false);
  const compiler = new ProgramCompiler(new RuleReader(), undefined);
  let before: readonly NeededProgram[] = [];
  const become = (after: readonly NeededProgram[], limits: Partial<typeof NAMESPACE_LIMITS>, isDropped: boolean) => {
    const draft = made.draft(compiler);
    for (const each of after) draft.need(each);
    for (const each of before) draft.release(each);
    const held = new Set<string>();
    const most = { ...NAMESPACE_LIMITS, ...limits };
    runSync(draft.compile({ compiler, peers, limits: most, setShare: most.sets, held }));
    if (isDropped) return;
    draft.commit();
    before = after;
  };
  return { made, become };
}

/** What is known of it but for the objects themselves. */
function essence({ entries, rules, work, sets, wantedSets, closed, account }: ProgramPool): unknown {
  const programs = [...entries].map(([key, { uses, program }]) => [
    key,
    uses,
    program!.value,
    program!.compiled?.coSelected,
  ]);
  const sorted = (all: Iterable<unknown>): readonly string[] => [...all].map((each) => JSON.stringify(each)).sort();
  return [sorted(programs), rules, work, sorted(sets), wantedSets, sorted(closed), account.cost()];
}

describe('a pool of programs', () => {
  for (const [name, limits] of Object.entries({
    'where all fit': {},
    'at a limit of rules': { rules: 5 },
    'at a limit of sets': { sets: 4 },
    'at a limit of entries': { entries: 4 },
  })) {
    it(`${name}, counts what is there; a draft that is dropped leaves no trace`, () => {
      const seen = { closed: 0, open: 0 };
      const peers = new PeerSets();
      for (const [at, peer] of PEERS.entries())
        for (let n = 0; n <= at; n++) {
          const address = `10.0.${at}.${n}`;
          peers.ownerChanged({
            address,
            from: undefined,
            to: pod(`x/${peer}${n}`, { addresses: [address], labels: { peer } }),
          });
        }
      fc.assert(
        fc.property(fc.array(fc.tuple(state, fc.boolean()), { minLength: 2, maxLength: 8 }), (walk) => {
          const { made, become } = pool(peers);
          for (const [{ versions, programs }, isDropped] of walk) {
            const needed = programs.map((names): NeededProgram => {
              const policies = names.map((each) => POLICIES[NAMES.indexOf(each)]![versions[NAMES.indexOf(each)]!]!);
              return { key: names.join(), direction: 'ingress', policies, names };
            });
            become(needed, limits, isDropped);
            if (isDropped) continue;
            const alone = pool(peers);
            alone.become(needed, limits, false);
            assert.deepEqual(essence(made), essence(alone.made));
            assert.deepEqual(made.account.cost(), peers.costOf(made.sets.keys()));
            if (made.closed.size > 0) seen.closed++;
            else seen.open++;
            alone.made.drop();
          }
          made.drop();
        }),
        runs(100),
      );
      assert.ok(seen.open > 20 && seen.closed > 20 === Object.keys(limits).length > 0, JSON.stringify(seen));
    });
  }
});
