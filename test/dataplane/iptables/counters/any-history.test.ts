/** Whatever happens to policies, chains and agents: the counts are the packets that were sent. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { NodeIntent } from '../../../../src/compile/intent.ts';
import type { Policy } from '../../../../src/policy/model.ts';
import { compileNode } from '../../../support/stages.ts';
import { acceptRules } from '../../../../src/compile/program.ts';
import { asItJudges } from '../../../../src/dataplane/iptables/plan/add-only.ts';
import { readingOf } from '../../../../src/dataplane/iptables/plan/chain-reading.ts';
import { CountBook } from '../../../../src/dataplane/count-book.ts';
import { createCountStore } from '../../../../src/dataplane/count-store.ts';
import { CounterWatch } from '../../../../src/dataplane/iptables/counters/counter-watch.ts';
import { createIptablesDataplane } from '../../../../src/dataplane/iptables/iptables-dataplane.ts';
import { listCounters } from '../../../../src/dataplane/iptables/kernel/list-counters.ts';
import { LONGEST_MS, REST_MS, TidyTimer } from '../../../../src/dataplane/tidy-timer.ts';
import { objectKey } from '../../../../src/policy/model.ts';
import { NO_INTERFACES } from '../../../../src/host/pod-interfaces.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { runs } from '../../../property/runs.ts';
import { createFakeKernel } from '../../../support/fake-kernel.ts';

const NAMES = ['a', 'b', 'c'];
const PORTS = [80, 81, 82, 83];
type Mode = 'enforce' | 'audit';

/** Which ports each policy allows; undefined: the policy is not there. */
type Policies = readonly (readonly number[] | undefined)[];

type Event =
  | { readonly kind: 'policies'; readonly policies: Policies; readonly mode: Mode }
  | { readonly kind: 'packets'; readonly port: number; readonly count: number }
  | { readonly kind: 'ask' | 'restart' | 'tidy' };

const POLICIES: fc.Arbitrary<Policies> = fc.tuple(
  ...NAMES.map(() => fc.option(fc.subarray(PORTS.slice(0, 3)), { nil: undefined })),
);
const EVENT: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('policies' as const),
      policies: POLICIES,
      mode: fc.constantFrom<Mode>('enforce', 'audit'),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('packets' as const),
      port: fc.constantFrom(...PORTS),
      count: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('ask' as const, 'restart' as const, 'tidy' as const) }) },
);

class Node {
  readonly #kernel = createFakeKernel({ families: [4] });
  #nowMs = 0;
  readonly #due: (() => void)[] = [];
  /** What is waited for briefly comes at once; what hangs does not happen here. */
  readonly #clock = {
    now: () => this.#nowMs,
    after: (ms: number, action: () => void) => {
      if (ms < 100) setImmediate(action);
      else if (ms === REST_MS) this.#due.push(action);
      return () => {};
    },
  };
  /** Until it is time, what is replaced stays. */
  readonly #tidy = new TidyTimer(this.#clock, () => this.#counters?.aheadOfDeletion());
  #counters: CounterWatch | undefined;
  #text: string | undefined;
  #dataplane = this.#start();
  #policies: Policies = [];
  #mode: Mode = 'enforce';
  #edits = 0;
  #intent: NodeIntent | undefined;
  readonly #isDumped: () => boolean;
  /** What was sent, as the counts should tell it. */
  readonly sent = new Map<string, number>();

  /** `isDumped`: the kernel is asked by netlink the next time, else a tool is. */
  constructor(isDumped: () => boolean) {
    this.#isDumped = isDumped;
  }

  #start() {
    const store = createCountStore({
      text: {
        read: async () => this.#text,
        write: async (text) => {
          this.#text = text;
        },
      },
      scope: async () => 'boot',
      onLoad: () => {},
      onProblem: (problem) => assert.fail(problem),
    });
    const counters = new CounterWatch({
      target: () => ({ variant: 'iptables-nft', families: [4] }),
      read: (family, isUrgent) => listCounters(this.#kernel.run, 'iptables-nft', family, isUrgent),
      dump: async (family, chains) => (this.#isDumped() ? this.#kernel.dump(family, chains) : undefined),
      clock: this.#clock,
      book: new CountBook({ store }),
      onProblem: (problem) => assert.fail(problem),
    });
    this.#counters = counters;
    const [kernel, tidy] = [this.#kernel, this.#tidy];
    return createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5, counters, tidy });
  }

  async on(event: Event): Promise<void> {
    switch (event.kind) {
      case 'policies':
        [this.#policies, this.#mode] = [event.policies, event.mode];
        this.#edits++;
        return await this.#sync();
      case 'packets':
        return this.#send(event.port, event.count);
      case 'ask':
        return void (await this.counted());
      case 'restart':
        // Of a chain that went unread a later process knows the legend alone: its policies together.
        await this.#tidyUp();
        this.#dataplane = this.#start();
        return await this.#sync();
      case 'tidy':
        return await this.#tidyUp();
    }
  }

  async #sync(): Promise<void> {
    const policies = this.#policies.flatMap((ports, index): Policy[] => {
      // No two edits lead to the same rules: those would stay, and what came since the last reading would be the new policies'.
      const ingress = [...(ports ?? []), 1000 + this.#edits].map((port) => ({ ports: [{ port }] }));
      return ports ? [policy(`x/${NAMES[index]}`, { podSelector: {}, policyTypes: ['Ingress'], ingress })] : [];
    });
    const cluster = snapshot({ pods: [pod('x/a', { addresses: ['10.0.0.1'] })], policies });
    const intent = { ...compileNode(cluster, 'node-1'), revision: 1 };
    this.#intent = intent;
    const request = { mode: this.#mode, resync: false, interfaces: NO_INTERFACES };
    assert.deepEqual((await this.#dataplane.sync(intent, request)).failures, []);
  }

  async #tidyUp(): Promise<void> {
    const due = this.#due.splice(0);
    for (const tidy of due) tidy();
    for (let turn = 0; due.length > 0 && turn < 20 && !this.#tidy.isDue; turn++)
      await new Promise((resolve) => setImmediate(resolve));
    await this.#sync();
    // Rules rest for so long that they are taken out soon the next time as well.
    this.#nowMs += LONGEST_MS + 1;
  }

  #chain(): string | undefined {
    const found = asItJudges(this.#kernel.state().families[4]!, 4);
    return readingOf(4, found).targets('ingress').get('10.0.0.1');
  }

  /** To a pod that is isolated; others are nobody's to count. */
  #send(port: number, count: number): void {
    const chain = this.#chain();
    if (chain === undefined) return;
    const all = NAMES.filter((_, index) => this.#policies[index]);
    const isAllowed = this.#policies.some((ports) => ports?.includes(port));
    const denied = this.#mode === 'audit' ? '-j RETURN' : '-j DROP';
    this.#kernel.count(4, chain, isAllowed ? this.#ruleFor(chain, port) : denied, count);
    const action = isAllowed ? 'allow' : this.#mode === 'audit' ? 'would-deny' : 'deny';
    const key = `${action} ${(isAllowed ? this.#askingFor(port) : all.map((name) => `x/${name}`)).join(',')}`;
    this.sent.set(key, (this.sent.get(key) ?? 0) + count);
  }

  /** The policies that the compiled rule for the port stands for: some may ask for its other ports. */
  #askingFor(port: number): readonly string[] {
    const rules = this.#intent!.programs.flatMap(acceptRules);
    const { by } = rules.find(({ ports }) => {
      return ports.kind === 'ranges' && ports.ranges.some(({ first, last }) => first <= port && port <= last);
    })!;
    return [...new Set(by.map((each) => objectKey(each.policy)))];
  }

  #ruleFor(chain: string, port: number): string {
    const rules = this.#kernel.state().families[4]!.chains.get(chain)!;
    return rules.find((rule) => {
      const ranges = /--dports? ([0-9:,]+) -j RETURN$/.exec(rule)?.[1]?.split(',') ?? [];
      return ranges.some((range) => {
        const [first, last = first] = range.split(':').map(Number);
        return first! <= port && port <= last!;
      });
    })!;
  }

  async counted(): Promise<ReadonlyMap<string, number>> {
    this.#nowMs += 5_000;
    const found = await this.#dataplane.counters();
    return new Map(
      found.flatMap(({ action, of, packets }): [string, number][] => {
        const whose = of.kind === 'policies' ? of.policies.map(objectKey).join(',') : of.kind;
        return packets === 0 ? [] : [[`${action} ${whose}`, packets]];
      }),
    );
  }
}

const inOrder = (counts: ReadonlyMap<string, number>): unknown => Object.fromEntries(counts);

describe('counts of rules, whatever happens', function () {
  // Some hundred histories of up to 40 events.
  this.timeout(60_000);

  const ways: Readonly<Record<string, fc.Arbitrary<readonly boolean[]>>> = {
    'by a tool': fc.constant([false]),
    'by netlink': fc.constant([true]),
    'by netlink as far as that answers': fc.array(fc.boolean(), { minLength: 1 }),
  };
  for (const [way, answers] of Object.entries(ways))
    it(`are the packets that were sent, read ${way}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(EVENT, { minLength: 5, maxLength: 40 }), answers, async (events, isDumped) => {
          let asked = 0;
          const node = new Node(() => isDumped[asked++ % isDumped.length]!);
          for (const event of events) await node.on(event);
          assert.deepEqual(inOrder(await node.counted()), inOrder(node.sent));
        }),
        runs(150),
      );
    });
});
