/** Counts of rules in a table of nftables: they outlive chains that are replaced and agents that end. */
import assert from 'node:assert/strict';
import { createCountStore } from '../../../src/dataplane/count-store.ts';
import { createNftablesDataplane } from '../../../src/dataplane/nftables/nftables-dataplane.ts';
import { NftCounters } from '../../../src/dataplane/nftables/sync/counters.ts';
import { EpochKeeper } from '../../../src/dataplane/nftables/sync/epoch-keeper.ts';
import { TidyTimer } from '../../../src/dataplane/tidy-timer.ts';
import { NO_INTERFACES } from '../../../src/host/pod-interfaces.ts';
import { objectKey, type Policy } from '../../../src/policy/model.ts';
import { pod, policy, snapshot } from '../../support/builders.ts';
import { LAYOUT } from '../../support/fake-cluster.ts';
import { createFakeNft } from '../../support/nft-fake.ts';
import { compileNode } from '../../support/stages.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const A = pod('x/a', { addresses: ['10.0.0.1'] });
const web = (name: string, port: number): Policy =>
  policy(`x/${name}`, { podSelector: {}, ingress: [{ ports: [{ port }] }] });
const COUNTER = 'counter packets 12 bytes 720';

/** A node whose agents come one after the other. */
function node({ keeps = true } = {}) {
  const kernel = createFakeNft();
  const state = { text: undefined as string | undefined, scope: 'boot-1' };
  const loads: string[] = [];
  /** By chain and rule. */
  const hits = new Map<string, number>();
  const rulesIn = (text: string): string[] => {
    let chain = '';
    return text.split('\n').map((line) => {
      chain = /^\tchain (\S+) \{$/.exec(line)?.[1] ?? chain;
      const packets = hits.get(`${chain} ${line}`) ?? 0;
      return line.replace(COUNTER, `counter packets ${packets} bytes ${packets * 60}`);
    });
  };
  const clock = new VirtualClock();
  const agent = () => {
    const counters = new NftCounters({
      now: () => clock.now(),
      read: async () => rulesIn(kernel.text()).join('\n'),
      ...(keeps
        ? {
            store: createCountStore({
              text: { read: async () => state.text, write: async (text) => void Object.assign(state, { text }) },
              scope: async () => state.scope,
              onLoad: (found) => loads.push(found),
              onProblem: (problem) => assert.fail(problem),
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
      tidy,
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
  /** Of IPv4: every chain is there once a family. */
  const hit = (rule: RegExp, packets: number): void => {
    let chain = '';
    for (const line of kernel.text().split('\n')) {
      chain = /^\tchain (\S+) \{$/.exec(line)?.[1] ?? chain;
      if (!chain.startsWith('PCL-I-') || !rule.test(line)) continue;
      hits.set(`${chain} ${line}`, (hits.get(`${chain} ${line}`) ?? 0) + packets);
      return;
    }
    assert.fail(`no rule is like ${rule}`);
  };
  return { agent, hit, state, loads };
}

const PORT_80 = /tcp dport 80 .*return/;
const DENIED = /counter.* drop comment "isolated by/;
const CUT = /ct state established,related counter.* drop/;

describe('counts of a table of nftables', () => {
  it('go on through edits and restarts, with what was counted while no agent was there', async () => {
    const { agent, hit, loads } = node();
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
    const { agent, hit } = node();
    await agent().sync(web('a', 80), web('b', 80));
    hit(PORT_80, 4);
    hit(DENIED, 1);
    hit(CUT, 2);
    const second = agent();
    await second.sync(web('c', 90));
    assert.deepEqual(await second.counted(), ['allow x/a,x/b 4', 'deny live x/a,x/b 2', 'deny x/a,x/b 1']);
  });

  it('without a file go on from what the kernel holds', async () => {
    const { agent, hit } = node({ keeps: false });
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
    const one = node();
    const first = one.agent();
    await first.sync(web('a', 80));
    one.hit(PORT_80, 3);
    await first.counted();
    const other = node();
    Object.assign(other.state, { text: one.state.text, scope: 'boot-2' });
    const second = other.agent();
    await second.sync(web('a', 80));
    assert.deepEqual(await second.counted(), []);
    assert.deepEqual(other.loads, ['another boot']);
  });
});
