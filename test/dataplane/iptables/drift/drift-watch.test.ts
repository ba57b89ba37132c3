import assert from 'node:assert/strict';
import type { Family } from '../../../../src/core/vocabulary.ts';
import type { Hook } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import type { ObservedFamily, ObservedState } from '../../../../src/dataplane/iptables/plan/plan.ts';
import type { SetHeader } from '../../../../src/dataplane/iptables/drift/read-looks.ts';
import type { SyncOutcome } from '../../../../src/dataplane/dataplane.ts';
import { DriftWatch } from '../../../../src/dataplane/iptables/drift/drift-watch.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const JUMP = '-m conntrack ! --ctstate RELATED,ESTABLISHED -j PCL-FWD';
const rulesOf = (count: number): ObservedFamily => ({
  chains: new Map([['PCL-FWD', Array<string>(count).fill('-j DROP')]]),
  hooks: { FORWARD: [JUMP], INPUT: [JUMP.replace('FWD', 'INP')] },
});
const SET = {
  name: 'PCL4-a',
  family: 4,
  type: 'hash:ip',
  maxElements: 8,
  members: new Map([['10.0.0.1', true]]),
} as const;

/** A kernel that is looked at, and a watch on it. */
function bench({ rules = 10, listening = true } = {}) {
  const clock = new VirtualClock();
  const started = clock.now();
  const written: ObservedState = {
    families: { 4: rulesOf(rules), 6: rulesOf(rules) },
    sets: new Map([[SET.name, SET]]),
  };
  const kernel = {
    hooks: { FORWARD: [JUMP], INPUT: [JUMP.replace('FWD', 'INP')] } as Record<Hook, readonly string[] | undefined>,
    chains: written.families[4]!.chains,
    headers: new Map<string, SetHeader>([[SET.name, { type: 'hash:ip', entries: 1, seed: 's' }]]),
  };
  const state = { syncs: 0, isPassing: false, listening, lookMs: 0, isToldOfAll: false };
  const looked: string[] = [];
  const resyncs: { readonly atMs: number; readonly reason: string }[] = [];
  const deaf: Family[] = [];
  const look = async <T>(name: string, found: () => T): Promise<T> => {
    looked.push(name);
    if (state.lookMs > 0) await new Promise<void>((resolve) => void clock.after(state.lookMs, resolve));
    return found();
  };
  const watch = new DriftWatch({
    looks: {
      hook: (_, family, hook) => look(`${hook} ${family}`, () => kernel.hooks[hook]),
      rules: (_, family) =>
        look(`rules ${family}`, () => ({
          chains: kernel.chains,
          hooks: { FORWARD: kernel.hooks.FORWARD ?? [], INPUT: kernel.hooks.INPUT ?? [] },
        })),
      setHeaders: () => look('sets', () => kernel.headers),
    },
    clock,
    backend: () => 'iptables-nft',
    standing: () => (state.isPassing ? undefined : { written, syncs: state.syncs }),
    resync: (reason) => resyncs.push({ atMs: clock.now() - started, reason }),
    isListening: () => state.listening,
    isToldOfAll: async () => state.isToldOfAll,
    onDeaf: (family) => deaf.push(family),
  });
  const pass = (drift: SyncOutcome['drift'] = []): void => {
    state.syncs++;
    watch.synced({ drift, failures: [] } as unknown as SyncOutcome, true);
  };
  return { clock, kernel, state, looked, resyncs, deaf, watch, pass };
}

const CHANGE = { family: 4, touched: 'hooks', program: 'nft' } as const;

describe('fault: drift is noticed at once where the kernel tells, within seconds else', () => {
  it('looks at everything in turn, within five seconds, and asks for nothing while all is well', async () => {
    const { clock, looked, resyncs } = bench();
    await clock.pass(6_000);
    assert.deepEqual([...new Set(looked)].sort(), ['FORWARD 4', 'FORWARD 6', 'sets']);
    assert.ok(looked.length <= 6, `${looked.length} looks`);
    assert.deepEqual(resyncs, []);
  });

  it('where all that was committed was told of for certain, at the sets alone, and at what is told of', async () => {
    const { clock, state, looked, watch } = bench();
    state.isToldOfAll = true;
    await clock.pass(12_000);
    assert.deepEqual([...new Set(looked)], ['sets']);
    assert.ok(looked.length >= 2 && looked.length <= 4, `${looked.length} looks in 12 s`);
    looked.length = 0;
    watch.changed(CHANGE);
    await clock.pass(500);
    assert.deepEqual(looked, ['FORWARD 4', 'INPUT 4']);
    state.isToldOfAll = false;
    looked.length = 0;
    await clock.pass(6_000);
    assert.deepEqual([...new Set(looked)].sort(), ['FORWARD 4', 'FORWARD 6', 'sets']);
  });

  it('where nobody tells, all rules of a small table, the hooks of a large one', async () => {
    const small = bench({ listening: false });
    await small.clock.pass(6_000);
    assert.deepEqual([...new Set(small.looked)].sort(), ['rules 4', 'rules 6', 'sets']);
    const large = bench({ listening: false, rules: 5_000 });
    await large.clock.pass(12_000);
    assert.equal(large.looked.filter((name) => name.startsWith('rules')).length, 2, 'once each, at the beginning');
    for (const name of ['FORWARD 4', 'INPUT 4', 'FORWARD 6', 'INPUT 6', 'sets'])
      assert.ok(large.looked.includes(name), name);
  });

  it('a jump that is gone: a comparison within five seconds, not ready until it is repaired', async () => {
    const { clock, kernel, resyncs, watch, pass } = bench();
    await clock.pass(3_000);
    kernel.hooks.FORWARD = ['-j ACCEPT'];
    await clock.pass(4_500);
    assert.match(resyncs[0]!.reason, /FORWARD: .*our jump is gone; found 1 rule, first: -j ACCEPT/);
    assert.match(watch.away!, /FORWARD/);
    kernel.hooks.FORWARD = [JUMP];
    pass([{ kind: 'jump', object: 'FORWARD', what: '' }]);
    assert.equal(watch.away, undefined);
  });

  it('a comparison that failed repaired nothing', async () => {
    const { clock, kernel, state, watch } = bench();
    kernel.hooks.FORWARD = [];
    await clock.pass(4_500);
    state.syncs++;
    watch.synced({ drift: [], failures: [{}] } as unknown as SyncOutcome, true);
    assert.notEqual(watch.away, undefined);
  });

  it('members that left', async () => {
    const { clock, kernel, resyncs } = bench();
    kernel.headers = new Map([[SET.name, { type: 'hash:ip', entries: 0, seed: 's' }]]);
    await clock.pass(5_000);
    assert.match(resyncs[0]!.reason, /PCL4-a: 0 entries instead of 1/);
  });

  it('a set that we made anew ourselves is no drift', async () => {
    const { clock, kernel, resyncs, watch, pass } = bench();
    await clock.pass(5_000);
    watch.began({ kind: 'add-members', lines: [{ text: `create ${SET.name} hash:ip`, object: SET.name }] });
    kernel.headers = new Map([[SET.name, { type: 'hash:ip', entries: 1, seed: 'other' }]]);
    pass();
    await clock.pass(10_000);
    assert.deepEqual(resyncs, []);
    kernel.headers = new Map([[SET.name, { type: 'hash:ip', entries: 1, seed: 'third' }]]);
    await clock.pass(5_000);
    assert.equal(resyncs.length, 1);
  });

  it('told of: looked at at once; a rule that stands behind ours is left alone', async () => {
    const { clock, kernel, looked, resyncs, watch } = bench();
    await clock.pass(2_000);
    looked.length = 0;
    watch.changed(CHANGE);
    kernel.hooks.FORWARD = [JUMP, '-j ACCEPT'];
    await clock.pass(100);
    assert.deepEqual(looked, ['FORWARD 4', 'INPUT 4']);
    assert.deepEqual(resyncs, []);
    kernel.hooks.FORWARD = ['-j ACCEPT', JUMP];
    watch.changed(CHANGE);
    await clock.pass(300);
    assert.equal(resyncs.length, 1);
  });

  it('told of a chain of ours: compared at once, once a second at most', async () => {
    const { clock, resyncs, watch } = bench();
    for (let i = 0; i < 35; i++) {
      watch.changed({ ...CHANGE, touched: 'chains' });
      await clock.pass(100);
    }
    assert.deepEqual(
      resyncs.map(({ atMs }) => atMs),
      [0, 1_000, 2_000, 3_000],
    );
  });

  it('a flood of changes costs a few looks a second', async () => {
    const { clock, looked, resyncs, watch } = bench();
    for (let i = 0; i < 1_000; i++) {
      watch.changed(CHANGE);
      await clock.pass(2);
    }
    assert.ok(looked.length >= 2 * 5 && looked.length <= 2 * 14, `${looked.length} looks in two seconds`);
    assert.deepEqual(resyncs, []);
  });

  it('a flood of changes does not keep it from looking at sets', async () => {
    const { clock, kernel, looked, resyncs, watch } = bench();
    kernel.headers = new Map();
    for (let i = 0; i < 50; i++) {
      watch.changed(CHANGE);
      await clock.pass(100);
    }
    assert.ok(looked.includes('sets'));
    assert.equal(resyncs.length, 1);
  });

  it('our own commit asks for nothing; one of others during it is looked at after the pass', async () => {
    const { clock, kernel, state, looked, resyncs, watch } = bench();
    await clock.pass(2_000);
    looked.length = 0;
    const step = { kind: 'rules', family: 4, lines: [] } as const;
    state.isPassing = true;
    watch.began(step);
    assert.equal(watch.changed({ family: 4, touched: 'chains', program: 'iptables-nft-re' }), false);
    assert.equal(watch.changed(CHANGE), true);
    watch.ended(step, true);
    kernel.hooks.FORWARD = ['-j ACCEPT', JUMP];
    await clock.pass(500);
    assert.deepEqual(looked, []);
    state.isPassing = false;
    state.syncs++;
    await clock.pass(300);
    assert.deepEqual(looked.slice(0, 2), ['FORWARD 4', 'INPUT 4']);
    assert.equal(resyncs.length, 1);
  });

  it('a look that a pass overtook says nothing, and is made again', async () => {
    const { clock, kernel, state, looked, resyncs, watch } = bench();
    state.lookMs = 10;
    watch.changed(CHANGE);
    kernel.hooks.FORWARD = [];
    await clock.pass(25);
    state.syncs++;
    await clock.pass(6);
    kernel.hooks.FORWARD = [JUMP];
    assert.deepEqual(resyncs, []);
    await clock.pass(400);
    assert.equal(looked.filter((name) => name === 'FORWARD 4').length, 2);
    assert.deepEqual(resyncs, []);
  });

  it('what cannot be read is no answer: a comparison of everything is asked for once, and nothing is said to be away', async () => {
    const { clock, kernel, state, resyncs, watch } = bench();
    kernel.hooks.FORWARD = undefined;
    kernel.hooks.INPUT = undefined;
    watch.changed(CHANGE);
    await clock.pass(100);
    assert.deepEqual(
      resyncs.map(({ reason }) => reason),
      ['drift: FORWARD of IPv4 cannot be read'],
    );
    for (let i = 0; i < 50; i++) {
      state.syncs++;
      watch.synced({ drift: [], failures: [{}] } as unknown as SyncOutcome, true);
      watch.changed(CHANGE);
      await clock.pass(1_000);
    }
    assert.ok(resyncs.length <= 3, 'once for each family');
    assert.equal(watch.away, undefined);
  });

  it('after a loss, and when it listens again, it looks', async () => {
    const { clock, kernel, state, looked, resyncs, watch } = bench({ rules: 5_000 });
    await clock.pass(2_000);
    state.listening = false;
    looked.length = 0;
    watch.lost(6);
    await clock.pass(50);
    assert.deepEqual(looked, ['rules 6']);
    kernel.hooks.INPUT = [];
    watch.listening(6);
    await clock.pass(300);
    assert.equal(resyncs.length, 1);
  });

  it('a commit of ours that nobody told of: whoever listens is replaced', async () => {
    const { clock, deaf, watch } = bench();
    const step = { kind: 'rules', family: 6, lines: [] } as const;
    watch.began(step);
    watch.ended(step, true);
    await clock.pass(8_000);
    assert.deepEqual(deaf, [6]);
  });

  it('what a comparison does not confirm is not brought up again for a minute', async () => {
    const { clock, kernel, resyncs, pass } = bench();
    kernel.headers.set('PCL4-stray', { type: 'hash:ip', entries: 0, seed: '' });
    await clock.pass(5_000);
    pass();
    await clock.pass(50_000);
    assert.equal(resyncs.length, 1);
    kernel.headers.set('PCL4-a', { type: 'hash:ip', entries: 7, seed: 's' });
    await clock.pass(5_000);
    assert.equal(resyncs.length, 2, 'another finding is');
  });

  it('what comes and goes is brought up each time it is found', async () => {
    const { clock, kernel, resyncs, watch, pass } = bench();
    for (let round = 0; round < 5; round++) {
      kernel.hooks.FORWARD = ['-j ACCEPT', JUMP];
      watch.changed(CHANGE);
      await clock.pass(500);
      // Gone again when everything is compared.
      kernel.hooks.FORWARD = [JUMP];
      pass();
      watch.changed(CHANGE);
      await clock.pass(1_000);
    }
    assert.equal(resyncs.length, 5);
  });

  it('stopped, it looks no more', async () => {
    const { clock, looked, watch } = bench();
    watch.stop();
    await clock.pass(20_000);
    assert.deepEqual(looked, []);
    assert.equal(clock.timers, 0);
  });
});
