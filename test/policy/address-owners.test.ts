import assert from 'node:assert/strict';
import fc from 'fast-check';
import { addressOwners, isEligible } from '../../src/policy/address-owners.ts';
import type { Pod } from '../../src/policy/model.ts';
import { pod } from '../support/builders.ts';

const ADDRESS = '10.244.1.2';

function ownerOf(...pods: Pod[]): string | undefined {
  const owner = addressOwners(pods).get(ADDRESS);
  return owner && `${owner.namespace}/${owner.name}`;
}

describe('address owners', () => {
  const old = pod('x/old', { addresses: [ADDRESS], createdAtMs: 1000 });
  const young = pod('x/young', { addresses: [ADDRESS, 'fd00::2'], createdAtMs: 2000 });

  it('eligible is who has an address of its own and is not finished (S-64, S-70..S-72)', () => {
    assert.equal(isEligible(old), true);
    assert.equal(isEligible({ ...old, addresses: [] }), false);
    assert.equal(isEligible({ ...old, hostNetwork: true }), false);
    assert.equal(isEligible({ ...old, terminating: true }), true);
    const phases = (['Pending', 'Running', 'Unknown', 'Succeeded', 'Failed'] as const).map((phase) =>
      isEligible({ ...old, phase }),
    );
    assert.deepEqual(phases, [true, true, true, false, false]);
  });

  it('all addresses of a pod are its own (S-57)', () => {
    assert.deepEqual([...addressOwners([young]).keys()], [ADDRESS, 'fd00::2']);
  });

  it('the newer pod owns the address, in both orders of events (S-73)', () => {
    assert.equal(ownerOf(old, young), 'x/young');
    assert.equal(ownerOf(young, old), 'x/young');
  });

  it('a deleted old pod takes nothing with it (S-73)', () => {
    const objects = new Map([old, young].map((each) => [each.name, each]));
    objects.delete('old');
    assert.equal(ownerOf(...objects.values()), 'x/young');
  });

  it('a finished pod owns nothing, however new (S-71)', () => {
    assert.equal(ownerOf(old, { ...young, phase: 'Succeeded' }), 'x/old');
    assert.equal(ownerOf({ ...old, phase: 'Failed' }, { ...young, phase: 'Succeeded' }), undefined);
  });

  it('a host-network pod owns nothing (S-64)', () => {
    assert.equal(ownerOf({ ...young, hostNetwork: true }, old), 'x/old');
    assert.equal(ownerOf({ ...young, hostNetwork: true }), undefined);
  });

  it('of two pods of one second the terminating one is the older', () => {
    const twin = { ...old, createdAtMs: young.createdAtMs, terminating: true };
    assert.equal(ownerOf(twin, young), 'x/young');
    assert.equal(ownerOf(young, twin), 'x/young');
    assert.equal(ownerOf({ ...twin, terminating: false }, { ...young, terminating: true }), 'x/old');
  });

  it('is the same in every order of pods', () => {
    const some = fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'd'),
      createdAtMs: fc.constantFrom(1000, 2000),
      terminating: fc.boolean(),
      phase: fc.constantFrom('Running' as const, 'Failed' as const),
    });
    const cluster = fc.uniqueArray(some, { selector: ({ name }) => name, minLength: 2 });
    const shuffled = cluster.chain((pods) =>
      fc.tuple(fc.constant(pods), fc.shuffledSubarray(pods, { minLength: pods.length })),
    );
    const build = ({ name, ...fields }: { name: string } & Partial<Pod>) =>
      pod(`x/${name}`, { addresses: [ADDRESS], ...fields });
    fc.assert(
      fc.property(shuffled, ([one, other]) => assert.equal(ownerOf(...one.map(build)), ownerOf(...other.map(build)))),
    );
  });
});
