/** Counts of rules in a table of nftables: they outlive chains that are replaced and agents that end. */
import assert from 'node:assert/strict';
import { CountBook } from '../../../src/dataplane/count-book.ts';
import { createCountStore } from '../../../src/dataplane/count-store.ts';
import { createNftablesDataplane } from '../../../src/dataplane/nftables/nftables-dataplane.ts';
import { NftCounters } from '../../../src/dataplane/nftables/sync/counters.ts';
import { EpochKeeper } from '../../../src/dataplane/nftables/sync/epoch-keeper.ts';
import { TidyTimer } from '../../../src/dataplane/tidy-timer.ts';
import { NO_INTERFACES } from '../../../src/host/pod-interfaces.ts';
import { objectKey, type Policy } from '../../../src/policy/model.ts';
import { pod, policy, snapshot } from '../../support/builders.ts';
import { LAYOUT } from '../../support/fake-cluster.ts';
import { createCountedNft } from '../../support/counted-nft.ts';
import { compileNode } from '../../support/stages.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const A = pod('x/a', { addresses: ['10.0.0.1'] });
const web = (name: string, port: number): Policy =>
  policy(`x/${name}`, { podSelector: {}, ingress: [{ ports: [{ port }] }] });

/** A node whose agents come one after the other. */
function node({ keeps = true, isDumped = false, tidiesLater = true } = {}) {
  const { kernel, text, dump, hit } = createCountedNft();
  const state = { text: undefined as string | undefined, scope: 'boot-1' };
  const loads: string[] = [];
  let listed = 0;
  const clock = new VirtualClock();
  const agent = () => {
    const counters = new NftCounters({
      now: () => clock.now(),
      read: async () => {
        listed++;
        return text();
      },
      ...(isDumped ? { dump } : {}),
      ...(keeps
        ? {
            book: new CountBook({
              store: createCountStore({
                text: { read: async () => state.text, write: async (text) => void Object.assign(state, { text }) },
                scope: async () => state.scope,
                onLoad: (found) => loads.push(found),
                onProblem: (problem) => assert.fail(problem),
              }),
            }),
          }
        : {}),
      onProblem: (problem) => assert.fail(String(problem)),
    });
    const tidy = new TidyTimer(clock, () => counters.aheadOfDeletion());
    const epochs = new EpochKeeper({ marks: LAYOUT.marks!, firstEpoch: 1, now: () => 0 });
    const dataplane = createNftablesDataplane({
      kernel,
      table: 'portcullis',
      layout: LAYOUT,
      now: () => 0,
      epochs,
      counters,
      ...(tidiesLater ? { tidy } : {}),
    });
    return {
      sync: async (...policies: readonly Policy[]) => {
        const intent = { ...compileNode(snapshot({ pods: [A], policies }), 'node-1'), revision: 1 };
        for (const resync of [true, false]) {
          const request = { mode: 'enforce', resync, interfaces: NO_INTERFACES } as const;
          assert.deepEqual((await dataplane.sync(intent, request)).failures, []);
          // Time for what was replaced to be read for the last time, and then deleted.
          await clock.pass(2_000);
        }
      },
      counted: async () => {
        clock.advance(2_000);
        return (await dataplane.counters())
          .filter(({ packets }) => packets > 0)
          .map(({ action, flow, of, packets }) => {
            const whose = of.kind === 'policies' ? of.policies.map(objectKey).join(',') : of.kind;
            return `${action}${flow === 'new' ? '' : ` ${flow}`} ${whose} ${packets}`;
          })
          .sort();
      },
    };
  };
  return { agent, hit, state, loads, listed: () => listed };
}

const PORT_80 = /tcp dport 80 .*return/;
const DENIED = /counter.* drop comment "isolated by/;
const CUT = /ct state established,related counter.* drop/;

for (const isDumped of [false, true])
  describe(`counts of a table of nftables, read by ${isDumped ? 'netlink' : 'nft'}`, () => {
    it('go on through edits and restarts, with what was counted while no agent was there', async () => {
      const { agent, hit, loads } = node({ isDumped });
      const first = agent();
      await first.sync(web('a', 80));
      hit(PORT_80, 3);
      hit(DENIED, 2);
      assert.deepEqual(await first.counted(), ['allow x/a 3', 'deny x/a 2']);
      await first.sync(web('a', 90));
      assert.deepEqual(await first.counted(), ['allow x/a 3', 'deny x/a 2']);
      hit(DENIED, 5);
      const second = agent();
      await second.sync(web('a', 70));
      assert.deepEqual(await second.counted(), ['allow x/a 3', 'deny x/a 7']);
      assert.deepEqual(loads, ['nothing', 'counts']);
    });

    it('of chains that the next agent replaces are told by their comments', async () => {
      const { agent, hit } = node({ isDumped });
      await agent().sync(web('a', 80), web('b', 80));
      hit(PORT_80, 4);
      hit(DENIED, 1);
      hit(CUT, 2);
      const second = agent();
      await second.sync(web('c', 90));
      assert.deepEqual(await second.counted(), ['allow x/a,x/b 4', 'deny live x/a,x/b 2', 'deny x/a,x/b 1']);
    });

    it('are read before chains are deleted by the very commit that replaces them', async () => {
      const { agent, hit } = node({ isDumped, tidiesLater: false });
      const only = agent();
      await only.sync(web('a', 80));
      for (const port of [81, 82]) {
        hit(DENIED, 2);
        await only.sync(web('a', port));
      }
      assert.deepEqual(await only.counted(), ['deny x/a 4']);
    });

    it('without a file go on from what the kernel holds', async () => {
      const { agent, hit } = node({ keeps: false, isDumped });
      const first = agent();
      await first.sync(web('a', 80));
      hit(PORT_80, 3);
      await first.counted();
      await first.sync(web('a', 90));
      hit(DENIED, 2);
      const second = agent();
      await second.sync(web('a', 90));
      assert.deepEqual(await second.counted(), ['deny x/a 2']);
    });

    it('begin anew with the boot', async () => {
      const one = node({ isDumped });
      const first = one.agent();
      await first.sync(web('a', 80));
      one.hit(PORT_80, 3);
      await first.counted();
      const other = node({ isDumped });
      Object.assign(other.state, { text: one.state.text, scope: 'boot-2' });
      const second = other.agent();
      await second.sync(web('a', 80));
      assert.deepEqual(await second.counted(), []);
      assert.deepEqual(other.loads, ['another boot']);
    });

    it('are asked of nft once, where the kernel tells them', async () => {
      const { agent, hit, listed } = node({ isDumped });
      const only = agent();
      for (const port of [80, 81, 82, 83]) {
        await only.sync(web('a', port));
        hit(DENIED, 1);
        assert.deepEqual(await only.counted(), [`deny x/a ${port - 79}`]);
      }
      assert.equal(listed() === 1, isDumped, `${listed()} listings`);
    });
  });
