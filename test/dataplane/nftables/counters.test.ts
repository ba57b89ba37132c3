/** When the counters of the table are read: it lists all of it. */
import assert from 'node:assert/strict';
import { KEEP_IDLE_MS } from '../../../src/dataplane/count-totals.ts';
import { versionedMap } from '../../../src/core/versioned-map.ts';
import { NftCounters } from '../../../src/dataplane/nftables/sync/counters.ts';
import type { Rule } from '../../../src/dataplane/nftables/table/rule.ts';
import { chainOf, type Table } from '../../../src/dataplane/nftables/table/table.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const COUNTING: Rule = {
  matches: [],
  target: { kind: 'drop' },
  counts: { action: 'deny', direction: 'ingress', flow: 'new', of: { kind: 'closed' } },
};

function chains(...names: readonly string[]): Table {
  const made = names.map((name) => [name, chainOf(name, name.startsWith('stamp') ? [] : [COUNTING])] as const);
  return { chains: versionedMap(made), sets: versionedMap() };
}

describe('nftables: counters ahead of a deletion', () => {
  it('are read where a chain goes that counts, once, and what it counted is kept; not for chains of epochs', async () => {
    let packets = 0;
    let reads = 0;
    const counters = new NftCounters({
      read: async () => {
        reads++;
        const chain = (name: string): string =>
          `\tchain ${name} {\n\t\tcounter packets ${++packets} bytes 0 drop\n\t}\n`;
        return `table inet portcullis {\n${chain('a')}${chain('b')}}\n`;
      },
      now: () => 0,
      onProblem: (problem) => assert.fail(String(problem)),
    });
    counters.rendered(chains('a', 'b', 'stamp-02000000'));
    await counters.aheadOfDeletion();
    assert.equal(reads, 1, 'an agent before this one may have left chains');
    counters.rendered(chains('a', 'b', 'stamp-04000000'));
    await counters.aheadOfDeletion();
    assert.equal(reads, 1);
    counters.rendered(chains('b', 'stamp-04000000'));
    await counters.aheadOfDeletion();
    await counters.aheadOfDeletion();
    assert.equal(reads, 2);
    assert.deepEqual(
      (await counters.counters()).map((each) => each.packets),
      [7],
    );
  });

  it('are listed once for all who ask meanwhile', async () => {
    let reads = 0;
    const counters = new NftCounters({
      read: async () => {
        reads++;
        await new Promise((resolve) => void setImmediate(resolve));
        return 'table inet portcullis {\n}\n';
      },
      now: () => 0,
      onProblem: (problem) => assert.fail(String(problem)),
    });
    await Promise.all([counters.counters(), counters.counters(), counters.counters()]);
    assert.equal(reads, 1);
  });

  it('of rules that are gone are dropped after an hour, those of rules that stand are not', async () => {
    let nowMs = 0;
    let text = '';
    const counters = new NftCounters({ read: async () => text, now: () => nowMs, onProblem: () => assert.fail() });
    const rule = (chain: string): string => `\tchain ${chain} {\n\t\tcounter packets 3 bytes 0 drop\n\t}\n`;
    const other: Rule = { ...COUNTING, counts: { ...COUNTING.counts!, direction: 'egress' } };
    const made = (...of: readonly Rule[]): Table => ({
      chains: versionedMap(of.map((each, at) => [`c${at}`, chainOf(`c${at}`, [each])])),
      sets: versionedMap(),
    });
    counters.rendered(made(COUNTING, other));
    text = rule('c0') + rule('c1');
    const told = async () => (await counters.counters()).map(({ direction, packets }) => `${direction} ${packets}`);
    assert.deepEqual(await told(), ['ingress 3', 'egress 3']);
    counters.rendered(made(COUNTING));
    text = rule('c0');
    await counters.aheadOfDeletion();
    for (const hours of [0.5, 1]) {
      nowMs = hours * KEEP_IDLE_MS;
      assert.deepEqual(await told(), ['ingress 3', 'egress 3']);
    }
    nowMs = KEEP_IDLE_MS + 1_000;
    assert.deepEqual(await told(), ['ingress 3']);
  });

  it('fault: a reading that hangs holds up a deletion for a second', async () => {
    const clock = new VirtualClock();
    const counters = new NftCounters({
      read: () => new Promise<string>(() => {}),
      now: () => clock.now(),
      after: (ms, action) => clock.after(ms, action),
      onProblem: (problem) => assert.fail(String(problem)),
    });
    counters.rendered(chains('a'));
    let isDone = false;
    void counters.beforeDeletion().then(() => (isDone = true));
    await clock.pass(999);
    assert.equal(isDone, false);
    await clock.pass(1);
    assert.equal(isDone, true);
  });
});
