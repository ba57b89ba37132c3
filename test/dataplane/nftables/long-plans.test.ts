/** What is compared and planned of a large table goes on in short steps, and is what it is at once. */
import assert from 'node:assert/strict';
import type { Sliced } from '../../../src/core/sliced.ts';
import { runSync } from '../../../src/core/sliced.ts';
import { sortedInSteps } from '../../../src/core/sort-in-steps.ts';
import { versionedMap } from '../../../src/core/versioned-map.ts';
import { byKey, compareTables, NO_LEFTOVERS, type WholeTable } from '../../../src/dataplane/nftables/plan/compare.ts';
import { findDrift } from '../../../src/dataplane/nftables/plan/drift.ts';
import { makePlan, planInSteps, type PlanRequest } from '../../../src/dataplane/nftables/plan/plan.ts';
import { EMPTY, EMPTY_TABLE } from '../../../src/dataplane/nftables/plan/whole-table.ts';
import { chainOf } from '../../../src/dataplane/nftables/table/table.ts';
import { TableWriter } from '../../../src/dataplane/nftables/table/write-table.ts';

const COUNT = 30_000;
const PER_STEP = 1_024;

/** One large set, one large map, and many chains. */
function largeTable(leftOut: number): WholeTable {
  const addresses = Array.from({ length: COUNT }, (_, n) => `10.0.${n >> 8}.${n & 255}`).slice(leftOut);
  const chains = Array.from({ length: PER_STEP }, (_, n) =>
    chainOf(`c${n}`, [{ matches: [], target: { kind: 'drop' } }]),
  );
  const sets = [
    { name: 'pods', type: 'ipv4_addr', elements: versionedMap(addresses.map((each) => [each, true as const])) },
    {
      name: 'ingress',
      type: 'ipv4_addr',
      isMap: true,
      elements: versionedMap(addresses.map((each) => [each, 'goto c0'])),
    },
  ];
  const rendered = {
    chains: versionedMap(chains.map((chain) => [chain.name, chain])),
    sets: versionedMap(sets.map((set) => [set.name, set])),
  };
  return { rendered, epochs: EMPTY_TABLE };
}

function run<T>(work: Sliced<T>): { readonly steps: number; readonly result: T } {
  for (let steps = 0; ; steps++) {
    const next = work.next();
    if (next.done) return { steps, result: next.value };
  }
}

describe('nftables: a large table', () => {
  const desired = largeTable(0);
  const atLeast = ({ steps }: { readonly steps: number }, least: number): void =>
    assert.ok(steps >= least, `${steps} steps of ${least}`);

  it('is compared in steps, where it is read and where somebody took elements out', () => {
    for (const leftOut of [0, 20_000]) {
      const actual = largeTable(leftOut);
      const compared = run(compareTables(desired, actual, NO_LEFTOVERS));
      // Elements of both sets, each against what there is and the other way round, and what joins in order.
      atLeast(compared, 2 * ((2 * COUNT - leftOut) / PER_STEP) + PER_STEP);
      const drift = run(findDrift({ ...desired, left: NO_LEFTOVERS }, actual));
      atLeast(drift, compared.steps);
      const missing = leftOut > 0 ? [`${leftOut} missing, 0 too many`, `${leftOut} missing, 0 too many`] : [];
      assert.deepEqual(
        drift.result.map(({ what }) => what),
        missing,
      );
    }
  });

  it('is planned in steps, from an empty kernel', () => {
    const request: PlanRequest = {
      desired,
      difference: runSync(compareTables(desired, EMPTY, NO_LEFTOVERS)),
      left: NO_LEFTOVERS,
      writer: new TableWriter('portcullis'),
      before: 'missing',
      tidies: true,
      epoch: undefined,
      isAnotherEpoch: false,
    };
    const planned = run(planInSteps(request));
    // Elements of both in order, then as commands of a thousand; rules of each chain.
    const sorted = [...desired.rendered.sets.values()].map(({ elements }) => run(sortedInSteps(elements, byKey)).steps);
    atLeast(planned, sorted[0]! + sorted[1]! + 2 * (COUNT / 1_000) + PER_STEP);
    assert.deepEqual(planned.result.steps, makePlan(request).steps);
    const commands = planned.result.steps.flatMap((step) => step.commands);
    const added = commands.flatMap(({ change }) => (change?.kind === 'elements' ? change.elements : []));
    assert.equal(added.length, 2 * COUNT);
  });
});
