/** Counts go on when the agent is restarted, and what is wrong with the text they are kept in costs nothing else. */
import assert from 'node:assert/strict';
import type { Policy } from '../../../../src/policy/model.ts';
import { compileNode } from '../../../support/stages.ts';
import { CountBook } from '../../../../src/dataplane/count-book.ts';
import { createCountStore } from '../../../../src/dataplane/count-store.ts';
import { CounterWatch } from '../../../../src/dataplane/iptables/counters/counter-watch.ts';
import { createIptablesDataplane } from '../../../../src/dataplane/iptables/iptables-dataplane.ts';
import { listCounters } from '../../../../src/dataplane/iptables/kernel/list-counters.ts';
import { objectKey } from '../../../../src/policy/model.ts';
import { NO_INTERFACES } from '../../../../src/host/pod-interfaces.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { createFakeKernel } from '../../../support/fake-kernel.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const A = pod('x/a', { addresses: ['10.0.0.1'] });
const web = (name: string, port: number): Policy =>
  policy(`x/${name}`, { podSelector: {}, ingress: [{ ports: [{ port }] }] });
const port = (number: number): string => `-p tcp -m tcp --dport ${number} -j RETURN`;

/** A node whose agents come one after the other. */
function node() {
  const kernel = createFakeKernel({ families: [4] });
  const clock = new VirtualClock();
  const state = { text: undefined as string | undefined, scope: 'boot-1', writeFails: undefined as Error | undefined };
  const loads: string[] = [];
  const problems: (string | undefined)[] = [];
  const agent = () => {
    const counters = new CounterWatch({
      target: () => ({ variant: 'iptables-nft', families: [4] }),
      read: (family, isUrgent) => listCounters(kernel.run, 'iptables-nft', family, isUrgent),
      clock,
      book: new CountBook({
        store: createCountStore({
          text: {
            read: async () => state.text,
            write: async (text) => {
              if (state.writeFails) throw state.writeFails;
              state.text = text;
            },
          },
          scope: async () => state.scope,
          onLoad: (found) => loads.push(found),
          onProblem: (problem) => problems.push(problem),
        }),
      }),
      onProblem: (problem) => assert.fail(problem),
    });
    const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5, counters });
    return {
      sync: async (...policies: readonly Policy[]) => {
        const intent = { ...compileNode(snapshot({ pods: [A], policies }), 'node-1'), revision: 1 };
        const outcome = await dataplane.sync(intent, { mode: 'enforce', resync: true, interfaces: NO_INTERFACES });
        assert.deepEqual(outcome.failures, []);
      },
      counted: async (): Promise<readonly string[]> => {
        clock.advance(5_000);
        const found = await dataplane.counters();
        return found
          .filter(({ packets }) => packets > 0)
          .map(({ action, of, packets, bytes }) => {
            assert.equal(bytes, packets * 100);
            return `${action} ${of.kind === 'policies' ? of.policies.map(objectKey).join(',') : of.kind} ${packets}`;
          })
          .sort();
      },
    };
  };
  const hit = (rule: string, packets: number): void => {
    const names = [...kernel.savedRules(4).matchAll(/^:(PCL-I-\S{16}) /gm)].map(([, each]) => each!);
    kernel.count(4, names.at(-1)!, rule, packets);
  };
  return { agent, hit, state, loads, problems, kernel };
}

describe('counts of rules across restarts', () => {
  it('go on, with what was counted while no agent ran', async () => {
    const { agent, hit, loads } = node();
    const first = agent();
    await first.sync(web('a', 80));
    hit(port(80), 3);
    assert.deepEqual(await first.counted(), ['allow x/a 3']);
    hit(port(80), 4);
    hit('-j DROP', 1);
    const second = agent();
    await second.sync(web('a', 80));
    assert.deepEqual(await second.counted(), ['allow x/a 7', 'deny x/a 1']);
    assert.deepEqual(await second.counted(), ['allow x/a 7', 'deny x/a 1']);
    assert.deepEqual(loads, ['nothing', 'counts']);
  });

  it('go on though policies were changed while no agent ran, for all policies of the chain together', async () => {
    const { agent, hit } = node();
    const first = agent();
    await first.sync(web('a', 80), web('b', 81));
    hit(port(80), 3);
    assert.deepEqual(await first.counted(), ['allow x/a 3']);
    hit(port(80), 4);
    hit('-j DROP', 1);
    const second = agent();
    await second.sync(web('c', 90));
    assert.deepEqual(await second.counted(), ['allow x/a 3', 'allow x/a,x/b 4', 'deny x/a,x/b 1']);
  });

  it('of chains that are gone are not lost', async () => {
    const { agent, hit } = node();
    const first = agent();
    await first.sync(web('a', 80));
    hit(port(80), 3);
    await first.sync(web('a', 90));
    const second = agent();
    await second.sync(web('a', 90));
    assert.deepEqual(await second.counted(), ['allow x/a 3']);
  });

  it('begin anew with the boot', async () => {
    const { agent, state, loads, hit } = node();
    const first = agent();
    await first.sync(web('a', 80));
    hit(port(80), 3);
    await first.counted();
    state.scope = 'boot-2';
    const other = node();
    other.state.text = state.text;
    other.state.scope = 'boot-2';
    const second = other.agent();
    await second.sync(web('a', 80));
    assert.deepEqual(await second.counted(), []);
    assert.deepEqual([...loads, ...other.loads], ['nothing', 'another boot']);
  });

  it('fault: where nothing can be kept, they go on from what the kernel holds', async () => {
    const { agent, hit, state, problems } = node();
    state.writeFails = new Error('ENOSPC: no space left on device');
    const first = agent();
    await first.sync(web('a', 80));
    hit(port(80), 3);
    assert.deepEqual(await first.counted(), ['allow x/a 3']);
    hit(port(80), 1);
    assert.deepEqual(await first.counted(), ['allow x/a 4']);
    assert.deepEqual(problems, ['ENOSPC: no space left on device']);
    const second = agent();
    await second.sync(web('a', 80));
    assert.deepEqual(await second.counted(), ['allow x/a 4']);
    state.writeFails = undefined;
    hit(port(80), 1);
    assert.deepEqual(await second.counted(), ['allow x/a 5']);
    assert.equal(problems.at(-1), undefined);
    assert.ok(state.text?.includes('x/a'));
  });

  const damages: Readonly<Record<string, (text: string) => string>> = {
    'cut short': (text) => text.slice(0, text.length / 2),
    'cut at a line': (text) => `${text.split('\n').slice(0, -2).join('\n')}\n`,
    empty: () => '',
    'something else': () => '{"a": [1, 2',
    'of another version': (text) => text.replace('"version":1', '"version":2'),
    'with a count that is none': (text) => text.replace(/,3,300,/, ',"3",300,'),
    'with a rule that is not there': (text) => text.replace(/\[\d+,3,300\]/, '[999,3,300]'),
    'with a policy that is none': (text) => text.replace('"x/a"', '"x/a/b"'),
  };
  for (const [what, damage] of Object.entries(damages))
    it(`fault: a text that is ${what} is as none`, async () => {
      const { agent, hit, state, loads } = node();
      const first = agent();
      await first.sync(web('a', 80));
      hit(port(80), 3);
      await first.counted();
      const damaged = damage(state.text!);
      assert.notEqual(damaged, state.text);
      state.text = damaged;
      const second = agent();
      await second.sync(web('a', 80));
      assert.deepEqual(await second.counted(), ['allow x/a 3']);
      assert.deepEqual(loads, ['nothing', 'unreadable']);
      assert.deepEqual(await agent().counted(), []);
      const third = agent();
      await third.sync(web('a', 80));
      assert.deepEqual(await third.counted(), ['allow x/a 3']);
      assert.equal(loads.at(-1), 'counts');
    });
});
