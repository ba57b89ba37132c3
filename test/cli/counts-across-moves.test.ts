/** What policies have counted goes on when a node moves from one data plane to the other, and when the agent is restarted with it. */
import assert from 'node:assert/strict';
import type { SyncFailure } from '../../src/dataplane/dataplane.ts';
import type { HostDataplane, TellingDataplane } from '../../src/cli/node-dataplane.ts';
import type { OtherDataplane } from '../../src/cli/take-over.ts';

import { createChosenNode } from '../../src/cli/chosen-dataplane.ts';
import { CountBook } from '../../src/dataplane/count-book.ts';
import { createCountStore } from '../../src/dataplane/count-store.ts';
import { type DataplaneName, FIRST_QUIET_MS } from '../../src/dataplane/dataplane-chooser.ts';
import { createIptablesDataplane } from '../../src/dataplane/iptables/iptables-dataplane.ts';
import { CounterWatch } from '../../src/dataplane/iptables/counters/counter-watch.ts';
import { listCounters } from '../../src/dataplane/iptables/kernel/list-counters.ts';
import { createNftablesDataplane } from '../../src/dataplane/nftables/nftables-dataplane.ts';
import { NftCounters } from '../../src/dataplane/nftables/sync/counters.ts';
import { EpochKeeper } from '../../src/dataplane/nftables/sync/epoch-keeper.ts';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';
import { objectKey, type Policy } from '../../src/policy/model.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { createCountedNft } from '../support/counted-nft.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { createFakeKernel } from '../support/fake-kernel.ts';
import { SILENT_LOGGER } from '../support/silent-logger.ts';
import { compileNode } from '../support/stages.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const A = pod('x/a', { addresses: ['10.0.0.1'] });
const web = (name: string, port: number): Policy =>
  policy(`x/${name}`, { podSelector: {}, ingress: [{ ports: [{ port }] }] });
/** nftables does not show its ports. */
const BRIDGED = {
  pods: [{ name: 'veth1', via: 'bridge', pod: 'x/a' }],
  bridges: [{ name: 'cni0', isOnlyPods: true }],
  broadcasts: [],
} as const;

const RULES = {
  allowed: { nftables: /tcp dport 80 .*return/, iptables: '-p tcp -m tcp --dport 80 -j RETURN' },
  denied: { nftables: /counter.* drop comment "isolated by/, iptables: '-j DROP' },
} as const;

/** A host with both kinds of rules in memory, whose agents come one after the other. */
class CountingHost {
  readonly clock = new VirtualClock();
  readonly #nft = createCountedNft();
  readonly #iptables = createFakeKernel({ families: [4] });
  readonly #kept = { text: undefined as string | undefined };
  /** What the other data plane left does not go. */
  isStuck = false;
  /** Counts may only grow. */
  readonly #told = new Map<string, number>();

  async agent(asked: DataplaneName | 'auto', { keeps = true } = {}) {
    const kept = this.#kept;
    const store = createCountStore({
      text: { read: async () => kept.text, write: async (text) => void Object.assign(kept, { text }) },
      scope: async () => 'boot',
      onLoad: () => {},
      onProblem: (problem) => assert.fail(problem),
    });
    const book = new CountBook(keeps ? { store } : {});
    const node = createChosenNode({
      asked,
      hosts: {
        nftables: { create: () => this.#host('nftables', book), left: this.#left('nftables', book) },
        iptables: { create: () => this.#host('iptables', book), left: this.#left('iptables', book) },
      },
      interfaces: {
        look: async () => {},
        known: () => NO_INTERFACES,
        state: () => ({ unknown: [], nobodys: [], problem: undefined, isSettled: true }),
      },
      isClosed: false,
      counts: book,
      metrics: { backend: () => {}, dataplaneMove: () => {} },
      log: SILENT_LOGGER,
      clock: this.clock,
    });
    assert.ok(await node.open({ onProblem: assert.fail, signal: AbortSignal.timeout(1_000) }));
    node.follow(() => {});
    const sync = async (
      policies: readonly Policy[],
      interfaces: typeof BRIDGED | typeof NO_INTERFACES = NO_INTERFACES,
    ) => {
      const intent = { ...compileNode(snapshot({ pods: [A], policies }), 'node-1'), revision: 1 };
      // The second one waits until what the other data plane left is taken out, behind the first.
      for (const resync of [true, false])
        assert.deepEqual((await node.dataplane.sync(intent, { mode: 'enforce', resync, interfaces })).failures, []);
    };
    const counted = async (): Promise<readonly string[]> => {
      this.clock.advance(5_000);
      const found = (await node.dataplane.counters()).map(({ action, flow, of, packets }) => {
        const whose = of.kind === 'policies' ? of.policies.map(objectKey).join(',') : of.kind;
        return [`${action} ${flow} ${whose}`, packets] as const;
      });
      for (const [of, packets] of found) {
        assert.ok(packets >= (this.#told.get(of) ?? 0), `${of} fell to ${packets}`);
        this.#told.set(of, packets);
      }
      return found.flatMap(([of, packets]) => (packets > 0 ? [`${of} ${packets}`] : [])).sort();
    };
    return { sync, counted, inUse: () => node.inUse()?.inUse };
  }

  /** Packets meet such a rule of that data plane. */
  hit(rule: keyof typeof RULES, dataplane: DataplaneName, packets: number): void {
    if (dataplane === 'nftables') {
      this.#nft.hit(RULES[rule].nftables, packets);
      return;
    }
    const chain = [...this.#iptables.savedRules(4).matchAll(/^:(PCL-I-(?!closed)\S+) /gm)].at(-1)?.[1];
    this.#iptables.count(4, chain ?? 'no chain', RULES[rule].iptables, packets);
  }

  standing(): readonly DataplaneName[] {
    const isThere = {
      nftables: this.#nft.kernel.table() !== undefined,
      iptables: this.#iptables.savedRules(4).includes('PCL-'),
    };
    return (['nftables', 'iptables'] as const).filter((name) => isThere[name]);
  }

  /** Of rules that the next agent goes on from. */
  kept(): readonly string[] {
    return [...new Set([...(this.#kept.text ?? '').matchAll(/^\["(chain[^"]*)"/gm)].map(([, kind]) => kind!))];
  }

  #nftCounters(book: CountBook): NftCounters {
    return new NftCounters({
      book,
      read: async () => this.#nft.text(),
      now: () => this.clock.now(),
      onProblem: (problem) => assert.fail(String(problem)),
    });
  }

  #iptablesCounters(book: CountBook): CounterWatch {
    return new CounterWatch({
      book,
      target: () => ({ variant: 'iptables-nft', families: [4] }),
      read: (family, isUrgent) => listCounters(this.#iptables.run, 'iptables-nft', family, isUrgent),
      clock: this.clock,
      onProblem: (problem) => assert.fail(problem),
    });
  }

  #host(name: DataplaneName, book: CountBook): HostDataplane {
    const host = {
      conditions: [],
      backend: () => name,
      tryOpen: async () => undefined,
      follow: () => {},
      synced: () => {},
      stop: async () => {},
    };
    if (name === 'iptables') {
      const counters = this.#iptablesCounters(book);
      return { ...host, dataplane: this.#ofIptables(counters), lastReading: () => counters.lastReading() };
    }
    const counters = this.#nftCounters(book);
    return {
      ...host,
      dataplane: this.#ofNftables(counters),
      lastReading: () => counters.lastReading(),
      bridgeProblem: () => 'no family bridge',
    };
  }

  #ofNftables(counters?: NftCounters): TellingDataplane {
    const [kernel, now] = [this.#nft.kernel, () => 0] as const;
    const epochs = new EpochKeeper({ marks: LAYOUT.marks!, firstEpoch: 1, now });
    const options = { kernel, table: 'portcullis', layout: LAYOUT, now, epochs, ...(counters ? { counters } : {}) };
    return { ...createNftablesDataplane(options), denial: () => undefined };
  }

  #ofIptables(counters?: CounterWatch): TellingDataplane {
    const kernel = this.#iptables;
    const options = { kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5, ...(counters ? { counters } : {}) };
    return { ...createIptablesDataplane(options), denial: () => undefined };
  }

  #left(name: DataplaneName, book: CountBook): OtherDataplane {
    return {
      name,
      stands: async () => this.standing().includes(name),
      lastReading: () => (name === 'nftables' ? this.#nftCounters(book) : this.#iptablesCounters(book)).lastReading(),
      remove: async () => {
        const stuck: SyncFailure = { object: name, tool: 'x', reason: 'refused', message: 'busy', policies: [] };
        const dataplane = name === 'nftables' ? this.#ofNftables() : this.#ofIptables();
        return this.isStuck ? [stuck] : (await dataplane.remove({ resync: true })).failures;
      },
    };
  }
}

describe('counts of policies, across moves between data planes', () => {
  for (const [first, second] of [
    ['iptables', 'nftables'],
    ['nftables', 'iptables'],
  ] as const) {
    it(`go on when an agent with ${second} comes after one with ${first}, with what was sent meanwhile, and back`, async () => {
      const host = new CountingHost();
      const before = await host.agent(first);
      await before.sync([web('a', 80)]);
      host.hit('allowed', first, 3);
      assert.deepEqual(await before.counted(), ['allow new x/a 3']);
      host.hit('allowed', first, 2);
      host.hit('denied', first, 4);
      const after = await host.agent(second);
      await after.sync([web('a', 80)]);
      assert.deepEqual(host.standing(), [second]);
      assert.deepEqual(await after.counted(), ['allow new x/a 5', 'deny new x/a 4']);
      host.hit('allowed', second, 10);
      assert.deepEqual(await after.counted(), ['allow new x/a 15', 'deny new x/a 4']);
      assert.deepEqual(host.kept(), ['chain'], 'chains that are gone are forgotten');
      host.hit('denied', second, 1);
      const last = await host.agent(first);
      await last.sync([web('a', 80)]);
      host.hit('allowed', first, 1);
      assert.deepEqual(await last.counted(), ['allow new x/a 16', 'deny new x/a 5']);
    });

    it(`without a file: what rules of ${first} hold is what an agent with ${second} goes on from`, async () => {
      const host = new CountingHost();
      await (await host.agent(first, { keeps: false })).sync([web('a', 80)]);
      host.hit('allowed', first, 3);
      const after = await host.agent(second, { keeps: false });
      await after.sync([web('a', 80)]);
      host.hit('allowed', second, 1);
      assert.deepEqual(await after.counted(), ['allow new x/a 4']);
    });
  }

  it('go on when auto moves, with what was counted right before, and each packet is counted once', async () => {
    const host = new CountingHost();
    const { sync, counted, inUse } = await host.agent('auto');
    const both = [web('a', 80), web('b', 81)];
    await sync(both);
    assert.equal(inUse(), 'nftables');
    host.hit('allowed', 'nftables', 3);
    host.hit('denied', 'nftables', 1);
    await sync(both, BRIDGED);
    assert.equal(inUse(), 'iptables');
    // Of each policy, as the agent that wrote the rules knows them.
    assert.deepEqual(await counted(), ['allow new x/a 3', 'deny new x/a,x/b 1']);
    host.hit('allowed', 'iptables', 2);
    host.hit('denied', 'iptables', 6);
    await sync(both);
    await host.clock.pass(10 * FIRST_QUIET_MS);
    await sync(both);
    assert.equal(inUse(), 'nftables');
    host.hit('allowed', 'nftables', 4);
    assert.deepEqual(await counted(), ['allow new x/a 9', 'deny new x/a,x/b 7']);
    assert.deepEqual(await counted(), ['allow new x/a 9', 'deny new x/a,x/b 7']);
  });

  it('fault: rules of the one before do not go: what they deny is counted until they do, by the next agent as well', async () => {
    const host = new CountingHost();
    host.isStuck = true;
    const { sync, counted } = await host.agent('auto');
    await sync([web('a', 80)]);
    host.hit('denied', 'nftables', 2);
    await sync([web('a', 80)], BRIDGED);
    assert.deepEqual(host.standing(), ['nftables', 'iptables']);
    host.hit('denied', 'nftables', 3);
    host.hit('allowed', 'iptables', 1);
    host.clock.advance(60_000);
    await sync([web('a', 80)], BRIDGED);
    assert.deepEqual(await counted(), ['allow new x/a 1', 'deny new x/a 5']);
    assert.deepEqual([...host.kept()].sort(), ['chain', 'chain of nftables']);
    host.hit('denied', 'nftables', 4);
    // Killed: the rules of both are there.
    host.isStuck = false;
    const next = await host.agent('iptables');
    await next.sync([web('a', 80)]);
    host.hit('denied', 'iptables', 1);
    assert.deepEqual(await next.counted(), ['allow new x/a 1', 'deny new x/a 10']);
    assert.deepEqual(host.standing(), ['iptables']);
  });

  it('fault: an agent is killed in the middle of a move: the next one takes either, and counts nothing twice', async () => {
    for (const taken of ['iptables', 'nftables'] as const) {
      const host = new CountingHost();
      const first = await host.agent('auto');
      await first.sync([web('a', 80)]);
      host.hit('allowed', 'nftables', 3);
      host.isStuck = true;
      await first.sync([web('a', 80)], BRIDGED);
      host.hit('denied', 'iptables', 2);
      host.hit('denied', 'nftables', 1);
      assert.equal(host.standing().length, 2);
      host.isStuck = false;
      const next = await host.agent(taken);
      await next.sync([web('a', 80)]);
      assert.deepEqual(await next.counted(), ['allow new x/a 3', 'deny new x/a 3'], taken);
      assert.deepEqual(host.standing(), [taken]);
    }
  });
});
