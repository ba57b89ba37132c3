/** What is tried before the first rule, in two ways of writing. */
import assert from 'node:assert/strict';
import { versionedMap } from '../../../src/core/versioned-map.ts';
import { type NftKernel, NftFailed } from '../../../src/dataplane/nftables/kernel/kernel.ts';
import { probe, tryWays } from '../../../src/dataplane/nftables/sync/probe.ts';
import { chainOf } from '../../../src/dataplane/nftables/table/table.ts';
import { TableWriter } from '../../../src/dataplane/nftables/table/write-table.ts';
import { LAYOUT } from '../../support/fake-cluster.ts';
import { createFakeNft } from '../../support/nft-fake.ts';

const trial = (kernel: NftKernel) => probe(kernel, 'tried', { ...LAYOUT, mode: 'enforce' });

/** Prints a counter as something else, as nft would what it cannot read. */
function printsOtherwise(): NftKernel {
  const fake = createFakeNft();
  return {
    write: (commands) => fake.write(commands),
    read: async () => {
      const table = await fake.read();
      return (
        table && {
          ...table,
          chains: versionedMap(
            [...table.chains].map(([name, chain]) => {
              return [name, { ...chain, lines: chain.lines.map((line) => line.replace(' counter ', ' ')) }];
            }),
          ),
        }
      );
    },
  };
}

const FAILING: NftKernel = {
  read: async () => undefined,
  write: () => Promise.reject(new NftFailed('no answer', 'unavailable')),
};

describe('nftables: two ways to write are tried', () => {
  it('the first one is enough', async () => {
    assert.deepEqual(await tryWays(trial, createFakeNft(), FAILING), { problem: undefined });
  });

  it('what one that was killed left goes first, whatever it is', async () => {
    const fake = createFakeNft();
    const writer = new TableWriter('tried');
    const other = chainOf('sample', [
      { matches: [{ kind: 'state', states: ['invalid'] }], target: { kind: 'return' } },
    ]);
    await fake.write([writer.addTable('inet'), writer.addChain(other), ...writer.addRules(other)]);
    assert.equal(await trial(fake), undefined);
    assert.equal(await fake.read(), undefined);
  });

  it('fault: what the first one writes is printed otherwise: the second one has to be taken, and it is told why', async () => {
    const { problem, otherwise } = await tryWays(trial, printsOtherwise(), createFakeNft());
    assert.equal(problem, undefined);
    assert.match(otherwise!, /^nft prints the rule ".* counter .*" as "/);
  });

  it('fault: the first one fails: the second one decides, and nothing speaks against the first one for ever', async () => {
    assert.deepEqual(await tryWays(trial, FAILING, createFakeNft()), { problem: undefined });
  });

  it('fault: neither is printed as it was written, or works', async () => {
    const { problem, otherwise } = await tryWays(trial, printsOtherwise(), printsOtherwise());
    assert.match(problem!, /^nft prints the rule/);
    assert.equal(otherwise, undefined);
    await assert.rejects(tryWays(trial, printsOtherwise(), FAILING), NftFailed);
  });
});
