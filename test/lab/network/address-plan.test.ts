import assert from 'node:assert/strict';
import { cidrContains, cidrCovers, parseCidr } from '../../../src/net/cidr.ts';
import { canonicalAddress, parseAddress } from '../../../src/net/ip.ts';
import { AddressBook } from '../../../lab/network/address-book.ts';
import {
  bridgeAddress,
  CLUSTER_CIDRS,
  FIRST_POD,
  isPodAddressOf,
  LAST_POD,
  MAX_NODES,
  nextPodNumber,
  nodeAddress,
  OUTSIDE_CIDR,
  outsideAddress,
  podAddress,
  podCidr,
} from '../../../lab/network/address-plan.ts';

const FAMILIES = [4, 6] as const;

function isIn(cidr: string, address: string | undefined): boolean {
  return cidrContains(parseCidr(cidr)!, parseAddress(address!)!);
}

describe('address plan', () => {
  it('gives every node, pod, bridge and outside host a canonical address of its own, inside the announced CIDRs', () => {
    for (const family of FAMILIES) {
      const { nodes, pods } = CLUSTER_CIDRS[family];
      const seen = new Set<string>();
      const take = (cidr: string, address: string): void => {
        assert.equal(canonicalAddress(address), address);
        assert.ok(isIn(cidr, address), `${address} in ${cidr}`);
        assert.ok(!seen.has(address), address);
        seen.add(address);
      };
      for (let node = 0; node < MAX_NODES; node++) {
        take(nodes, nodeAddress(node, family));
        assert.ok(cidrCovers(parseCidr(pods)!, parseCidr(podCidr(node, family))!));
        take(podCidr(node, family), bridgeAddress(node, family));
        for (const number of [FIRST_POD, 17, LAST_POD]) take(podCidr(node, family), podAddress(node, family, number));
      }
      for (let index = 0; index < 10; index++) take(OUTSIDE_CIDR[family], outsideAddress(index, family)!);
    }
  });

  it('has an end', () => {
    assert.throws(() => nodeAddress(MAX_NODES, 4), /room for 200/);
    assert.throws(() => podCidr(-1, 6), /room for 200/);
    assert.throws(() => podAddress(0, 4, 255), /255/);
    assert.equal(outsideAddress(245, 4), undefined);
  });

  it('knows the node of a pod address', () => {
    assert.ok(isPodAddressOf(0, 'fd00:10:244::9'));
    assert.ok(!isPodAddressOf(0, 'fd00:10:244:1::9'));
    assert.ok(isPodAddressOf(7, '10.244.7.1'));
    assert.ok(!isPodAddressOf(7, '10.244.8.1'));
  });

  it('goes round before it uses a pod number again', () => {
    assert.equal(
      nextPodNumber(undefined, () => true),
      FIRST_POD,
    );
    assert.equal(
      nextPodNumber(5, () => true),
      6,
    );
    assert.equal(
      nextPodNumber(5, (number) => number !== 6),
      7,
    );
    assert.equal(
      nextPodNumber(LAST_POD, () => true),
      FIRST_POD,
    );
    assert.equal(
      nextPodNumber(5, (number) => number === 5),
      5,
    );
    assert.equal(
      nextPodNumber(5, () => false),
      undefined,
    );
  });
});

describe('address book', () => {
  const a = { name: 'a', index: 0 };
  const book = (wiring: 'routed' | 'bridge' = 'routed'): AddressBook => new AddressBook([4, 6], wiring);

  it('gives both families the same number, and no number twice in a row', () => {
    const addresses = book();
    assert.deepEqual(addresses.takeForPod('pod/x/p', a, []), ['10.244.0.2', 'fd00:10:244::2']);
    addresses.release('pod/x/p');
    assert.deepEqual(addresses.takeForPod('pod/x/q', a, []), ['10.244.0.3', 'fd00:10:244::3']);
    assert.deepEqual(addresses.takeForPod('pod/x/r', { name: 'b', index: 1 }, []), ['10.244.1.2', 'fd00:10:244:1::2']);
  });

  it('keeps a wanted address, in canonical form, and fills in the other family', () => {
    const addresses = book();
    assert.deepEqual(addresses.takeForPod('pod/x/p', a, ['FD00:10:244::0:7']), ['10.244.0.2', 'fd00:10:244::7']);
    assert.throws(
      () => addresses.takeForPod('pod/x/q', a, ['fd00:10:244::7']),
      /pod\/x\/q: .*fd00:10:244::7 is held by pod\/x\/p/,
    );
    addresses.release('pod/x/p');
    assert.deepEqual(addresses.takeForPod('pod/x/q', a, ['fd00:10:244::7'])[1], 'fd00:10:244::7');
  });

  it('replaces what a pod has, and frees it', () => {
    const addresses = book();
    addresses.takeForPod('pod/x/p', a, []);
    assert.deepEqual(addresses.replaceForPod('pod/x/p', a, ['10.244.0.2']), ['10.244.0.2']);
    assert.deepEqual(addresses.takeForPod('pod/x/q', a, ['fd00:10:244::2'])[1], 'fd00:10:244::2');
    assert.deepEqual(addresses.replaceForPod('pod/x/p', a, []), []);
    assert.deepEqual(addresses.takeForPod('pod/x/r', a, ['10.244.0.2'])[0], '10.244.0.2');
  });

  it('changes nothing when it refuses', () => {
    const addresses = book();
    addresses.takeForPod('pod/x/p', a, []);
    addresses.takeForPod('pod/x/q', a, []);
    assert.throws(() => addresses.replaceForPod('pod/x/p', a, ['10.244.0.3']), /held by pod\/x\/q/);
    assert.throws(() => addresses.takeForPod('pod/x/r', a, ['10.244.0.2']), /held by pod\/x\/p/);
  });

  it('names what is wrong', () => {
    assert.throws(
      () => book().takeForPod('pod/x/p', a, ['10.0.0']),
      /pod\/x\/p: addresses: 10\.0\.0 is not an IP address/,
    );
    assert.throws(() => book().takeForPod('pod/x/p', a, ['10.244.0.2', '10.244.0.3']), /at most one per family/);
    assert.throws(() => book('bridge').takeForPod('pod/x/p', a, ['10.244.1.2']), /not in a pod CIDR of node a/);
    assert.throws(() => new AddressBook([4], 'routed').takeForPod('pod/x/p', a, ['fd00::1']), /family/);
  });

  it('gives outside hosts what they want, or the next free pair', () => {
    const addresses = book();
    assert.deepEqual(addresses.takeForOutside('outside/p', ['203.0.113.10', '203.0.113.99']), [
      '203.0.113.10',
      '203.0.113.99',
    ]);
    assert.deepEqual(addresses.takeForOutside('outside/q', undefined), ['203.0.113.11', '2001:db8::b']);
  });
});
