/** Whose an address is: the directory, kept up to date event by event, against a search through everything. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { AddressDirectory, AddressOwner } from '../../src/compile/address-directory.ts';
import type { BlockMention } from '../../src/compile/block-directory.ts';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import { DIRECTIONS } from '../../src/core/vocabulary.ts';
import { cidrContains, formatCidr } from '../../src/net/cidr.ts';
import { formatAddress, parseAddress } from '../../src/net/ip.ts';
import { addressOwners, claimantsOf, isFinished } from '../../src/policy/address-owners.ts';
import { type ClusterSnapshot, objectKey, type Pod } from '../../src/policy/model.ts';
import { matches } from '../../src/policy/selector.ts';
import { NODE } from '../property/clusters.ts';
import { type Edit, NOTHING, edited, edits, tell } from '../property/edits.ts';
import { runs } from '../property/runs.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { compileNode } from '../support/stages.ts';

const OTHER = { name: 'node-2', addresses: ['172.18.0.3', 'fd00:18::3'] };
const PROBES = [
  ...Array.from({ length: 10 }, (_, n) => [`10.0.${n >> 3}.${n === 7 ? 255 : n * 5}`, `fd00::${(n * 5).toString(16)}`]),
  ...[['172.18.0.2', 'fd00:18::2'], OTHER.addresses, ['10.0.0.7', 'fd00::7'], ['203.0.113.200', '2001:db8:8000::1']],
  ['9.9.9.9', '192.0.2.1', '1::1', 'f000::', '::'],
].flatMap((texts) => texts.map((text) => formatAddress(parseAddress(text)!)));

/** Plain words, so that two answers can be compared. */
function inWords(owner: AddressOwner): string {
  switch (owner.kind) {
    case 'pods':
      return `pods ${owner.pods.map((each) => `${objectKey(each)} on ${each.nodeName}`).join(', ')}`;
    case 'node':
      return `node ${owner.nodes.join()}${owner.isLocal ? ' (this)' : ''}`;
    case 'blocks':
      return `blocks ${owner.blocks.map(blockText).join(', ')}`;
    case 'outside':
      return 'outside';
  }
}

function blockText({ policy: own, direction, index, peer, cidr }: BlockMention): string {
  return `${formatCidr(cidr)} of ${objectKey(own)} ${direction}[${index}][${peer}]`;
}

/** S-64, S-70..S-73, S-28, by going through all objects. */
function search(state: ClusterSnapshot, address: string): { readonly owner: string; readonly blocks: string } {
  const blocks = blocksOf(state, address);
  const owner = ((): string => {
    if (state.nodes.get(NODE)?.addresses.includes(address)) return `node ${NODE} (this)`;
    const pods = claimantsOf(addressOwners(state.pods.values()).get(address));
    if (pods.length > 0) return inWords({ kind: 'pods', pods });
    const nodes = nodesOf(state, address);
    if (nodes.length > 0) return inWords({ kind: 'node', nodes, isLocal: nodes.includes(NODE) });
    return blocks === '' ? 'outside' : `blocks ${blocks}`;
  })();
  return { owner, blocks };
}

function nodesOf(state: ClusterSnapshot, address: string): readonly string[] {
  const listing = [...state.nodes.values()].filter((each) => each.addresses.includes(address));
  if (listing.length > 0) return listing.map(({ name }) => name).sort();
  const shown = [...state.pods.values()].filter(
    (each) =>
      each.hostNetwork && each.nodeName !== undefined && !isFinished(each.phase) && each.addresses.includes(address),
  );
  const since = ({ addresses, addressesSince }: Pod): number =>
    typeof addressesSince === 'number' ? addressesSince : addressesSince[addresses.indexOf(address)]!;
  const staying = shown.filter(({ terminating }) => !terminating);
  const candidates = staying.length > 0 ? staying : shown;
  const last = Math.max(...candidates.map(since));
  return [...new Set(candidates.filter((each) => since(each) === last).map((each) => each.nodeName!))].sort();
}

function blocksOf(state: ClusterSnapshot, address: string): string {
  const own = new Set(state.nodes.get(NODE)?.addresses);
  const endpoints = [...addressOwners(state.pods.values())]
    .filter(([each]) => !own.has(each))
    .map(([, owner]) => claimantsOf(owner).filter(({ nodeName }) => nodeName !== undefined))
    .filter((pods) => pods.some(({ nodeName }) => nodeName === NODE))
    .flat();
  const found: BlockMention[] = [];
  for (const each of state.policies.values()) {
    if (!endpoints.some((e) => e.namespace === each.namespace && matches(each.podSelector, e.labels))) continue;
    for (const direction of DIRECTIONS) {
      for (const [index, { peers }] of each[direction].entries()) {
        for (const [peer, block] of peers === 'any' ? [] : peers.entries()) {
          if (block.kind !== 'ip-block' || !cidrContains(block.cidr, parseAddress(address)!)) continue;
          if (block.except.some((hole) => cidrContains(hole, parseAddress(address)!))) continue;
          found.push({ policy: each, direction, index, peer, cidr: block.cidr });
        }
      }
    }
  }
  const rank = ({ policy: { namespace, name }, direction, index, peer }: BlockMention): string =>
    [namespace, name, direction, index, peer].join('/');
  return found
    .sort((a, b) => b.cidr.prefixLength - a.cidr.prefixLength || (rank(a) < rank(b) ? -1 : 1))
    .map(blockText)
    .join(', ');
}

function check(directory: AddressDirectory, state: ClusterSnapshot): void {
  for (const address of PROBES) {
    const expected = search(state, address);
    assert.equal(inWords(directory.find(address)), expected.owner, address);
    assert.equal(directory.blocks.at(parseAddress(address)!).map(blockText).join(', '), expected.blocks, address);
    const owner = directory.find(parseAddress(address)!);
    const [first] = owner.kind === 'pods' && owner.pods.length === 1 ? owner.pods : [];
    if (first) assert.equal(directory.ownerOf(address), objectKey(first));
    else assert.equal(directory.ownerOf(address) !== undefined, owner.kind === 'pods');
  }
}

/** Host networks that show the other node's addresses, whatever node they are on; `watched`: as an agent, which sees its own node only. */
const histories = fc.tuple(edits, fc.boolean()).map(([walk, watched]) =>
  walk
    .filter(({ kind, key }) => !(watched && kind === 'node' && key !== NODE))
    .map((edit): Edit => {
      if (edit.kind !== 'pod' || !edit.value?.hostNetwork || edit.value.createdAtMs > 0) return edit;
      return { ...edit, value: { ...edit.value, addresses: OTHER.addresses } };
    }),
);

describe('whose an address is', () => {
  it('is what a search through the cluster finds, after any history; what was kept stays as it was', () => {
    fc.assert(
      fc.property(histories, (walk) => {
        const compiler = new NodeCompiler(NODE);
        let state = NOTHING;
        const kept = walk.map((edit) => {
          tell(compiler, edit);
          state = edited(state, edit);
          const { directory } = compiler.intent();
          assert.equal(compiler.directory(), directory);
          return [directory, state] as const;
        });
        // Backwards, so that what is built late is built from what was.
        for (const [directory, then] of kept.reverse()) check(directory, then);
      }),
      runs(60),
    );
  });

  it('is one value while nothing changed, and another one of the same intent when others come and go', () => {
    const compiler = new NodeCompiler(NODE);
    compiler.pod('x/a', pod('x/a', { addresses: ['10.0.0.1'] }));
    const before = compiler.intent();
    assert.equal(compiler.intent(), before);
    assert.equal(compiler.pod('y/b', pod('y/b', { nodeName: 'node-2', addresses: ['10.0.0.2'] })), false);
    const after = compiler.intent();
    assert.equal(after.revision, before.revision);
    assert.equal(after.localAddresses, before.localAddresses);
    assert.equal(before.directory.ownerOf('10.0.0.2'), undefined);
    assert.equal(after.directory.ownerOf('10.0.0.2'), 'y/b');
  });

  it('is a node as long as a pod of its host network says so (S-64), but a pod of its own first', () => {
    const host = (name: string, fields: Partial<Pod>) =>
      pod(name, { hostNetwork: true, addresses: ['172.18.0.9'], nodeName: 'node-9', addressesSince: 1, ...fields });
    const cases: readonly (readonly [string, readonly Pod[]])[] = [
      ['node node-9', [host('s/a', {}), host('s/b', {})]],
      ['outside', [host('s/a', { phase: 'Succeeded' }), host('s/b', { phase: 'Failed' })]],
      ['outside', [{ ...host('s/a', {}), nodeName: undefined } as unknown as Pod]],
      ['node node-8', [host('s/a', {}), host('s/b', { nodeName: 'node-8', addressesSince: 2 })]],
      ['node node-8', [host('s/a', { terminating: true }), host('s/b', { nodeName: 'node-8' })]],
      ['node node-8,node-9', [host('s/a', {}), host('s/b', { nodeName: 'node-8' })]],
      ['node node-1,node-9 (this)', [host('s/a', {}), host('s/b', { nodeName: NODE })]],
      ['pods x/c on node-2', [host('s/a', {}), pod('x/c', { addresses: ['172.18.0.9'], nodeName: 'node-2' })]],
    ];
    for (const [expected, pods] of cases)
      assert.equal(inWords(compileNode(snapshot({ pods }), NODE).directory.find('172.18.0.9')), expected);
  });

  it('takes any text of an address, an IPv4-mapped one as IPv4 (S-31), and refuses what is none', () => {
    const pods = [pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'] })];
    const { directory } = compileNode(snapshot({ pods }), NODE);
    for (const text of ['10.0.0.1', '::ffff:10.0.0.1', '010.0.0.1', 'FD00:0::1'])
      assert.equal(directory.find(text).kind, 'pods', text);
    for (const text of ['', '10.0.0.0/8', 'x/a'])
      assert.throws(() => directory.find(text), /is not an IP address/, text);
  });

  it('tells of a hundred blocks at most, the longest prefixes first, whatever a namespace writes', () => {
    const blocks = (cidr: string, count: number) => Array.from({ length: count }, () => ({ ipBlock: { cidr } }));
    const ingress = [{ from: [...blocks('0.0.0.0/0', 20_000), ...blocks('203.0.113.0/24', 30)] }];
    const parts = {
      pods: [pod('x/a', { addresses: ['10.0.0.1'] })],
      policies: [policy('x/p', { podSelector: {}, ingress })],
    };
    const { blocks: all } = compileNode(snapshot(parts), NODE).directory;
    const found = all.at(parseAddress('203.0.113.7')!);
    assert.equal(found.length, 100);
    assert.deepEqual(
      found.map(({ peer }) => peer),
      [...Array.from({ length: 30 }, (_, n) => 20_000 + n), ...Array.from({ length: 70 }, (_, n) => n)],
    );
  });

  it('reads no block before it is asked, in slices if wished, and drops them when their policies change', () => {
    const blocks = { ingress: [{ from: [{ ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.8/29'] } }] }] };
    const compiler = new NodeCompiler(NODE);
    compiler.pod('x/a', pod('x/a', { addresses: ['10.0.0.1'] }));
    compiler.policy('x/p', policy('x/p', { podSelector: {}, ...blocks }));
    compiler.policy('y/p', policy('y/p', { podSelector: {}, ...blocks }));
    const first = compiler.intent().directory;
    assert.equal(first.find('10.0.0.1').kind, 'pods');
    assert.equal(first.blocks.isBuilt, false);
    assert.ok([...first.blocks.prepare()].length > 0);
    assert.equal(first.blocks.isBuilt, true);
    assert.deepEqual([...first.blocks.prepare()], []);
    assert.equal(inWords(first.find('203.0.113.7')), 'blocks 203.0.113.0/24 of x/p ingress[0][0]');
    assert.equal(inWords(first.find('203.0.113.8')), 'outside');
    compiler.pod('z/b', pod('z/b', { nodeName: 'node-2', addresses: ['10.0.0.2'] }));
    compiler.policy('y/p', undefined);
    assert.equal(compiler.intent().directory.blocks, first.blocks, 'others do not matter');
    compiler.policy('x/p', undefined);
    const second = compiler.intent().directory;
    assert.equal(second.blocks.isBuilt, false);
    assert.equal(inWords(second.find('203.0.113.7')), 'outside');
    assert.equal(inWords(first.find('203.0.113.7')), 'blocks 203.0.113.0/24 of x/p ingress[0][0]');
  });
});
