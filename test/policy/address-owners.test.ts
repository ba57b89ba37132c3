import assert from 'node:assert/strict';
import fc from 'fast-check';
import { addressOwners, claimantsOf, isEligible } from '../../src/policy/address-owners.ts';
import { type Pod, UNKNOWN_LABELS } from '../../src/policy/model.ts';
import { pod } from '../support/builders.ts';

const ADDRESS = '10.244.1.2';

function ownerOf(...pods: Pod[]): string | undefined {
  const owner = addressOwners(pods).get(ADDRESS);
  return (
    owner &&
    claimantsOf(owner)
      .map(({ namespace, name }) => `${namespace}/${name}`)
      .join(' and ')
  );
}

describe('address owners', () => {
  const old = pod('x/old', { addresses: [ADDRESS], createdAtMs: 1000, addressesSince: 1 });
  const young = pod('x/young', { addresses: [ADDRESS, 'fd00::2'], createdAtMs: 2000, addressesSince: 2 });

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

  it('the pod that began to show the address last owns it, in both orders, however old it is (S-73)', () => {
    assert.equal(ownerOf(old, young), 'x/young');
    assert.equal(ownerOf(young, old), 'x/young');
    const moved = { ...old, addressesSince: 3 };
    assert.equal(ownerOf(moved, young), 'x/old');
    assert.equal(ownerOf(young, moved), 'x/old');
  });

  it('each address counts from when it was shown (S-73)', () => {
    const both = { ...young, addressesSince: [1, 5] };
    const other = pod('x/other', { addresses: [ADDRESS, 'fd00::2'], addressesSince: 3 });
    const owners = addressOwners([both, other]);
    assert.deepEqual([owners.get(ADDRESS)?.name, owners.get('fd00::2')?.name], ['other', 'young']);
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

  it('a pod that is not terminating comes before one that is, whatever was shown last (S-73)', () => {
    const leaving = { ...young, terminating: true };
    assert.equal(ownerOf(leaving, old), 'x/old');
    assert.equal(ownerOf(old, leaving), 'x/old');
    assert.equal(ownerOf({ ...old, terminating: true }, leaving), 'x/young');
  });

  it('where nothing tells whose it is, it is that of all of them together (S-73)', () => {
    const port = { name: 'web', protocol: 'TCP', port: 80 } as const;
    const a = pod('x/a', { addresses: [ADDRESS], namedPorts: [port, { ...port, port: 81 }] });
    const b = pod('x/b', { addresses: [ADDRESS], namedPorts: [{ ...port, port: 81 }] });
    const owner = addressOwners([b, a, { ...young, terminating: true }]).get(ADDRESS);
    assert.deepEqual(claimantsOf(owner), [a, b]);
    assert.deepEqual([owner?.namespace, owner?.labels, owner?.namedPorts], ['x', UNKNOWN_LABELS, b.namedPorts]);
    const twins = addressOwners([a, { ...b, labels: { ...a.labels } }]).get(ADDRESS);
    assert.deepEqual(twins?.labels, a.labels);
    const elsewhere = addressOwners([a, pod('y/a', { addresses: [ADDRESS], labels: a.labels })]).get(ADDRESS);
    assert.deepEqual([elsewhere?.namespace, elsewhere?.labels], ['', a.labels]);
  });

  it('is the same in every order of pods', () => {
    const some = fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'd'),
      addressesSince: fc.constantFrom(1, 2),
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
