/** What --dataplane=auto takes, and when it moves. */
import assert from 'node:assert/strict';
import {
  CALM_MS,
  DataplaneChooser,
  FAILING_MS,
  FAILING_SYNCS,
  FIRST_QUIET_MS,
  MAX_QUIET_MS,
  type Objection,
} from '../../src/dataplane/dataplane-chooser.ts';

const BRIDGE: Objection = { kind: 'needs', text: 'pods are ports of a bridge' };
const BROKEN: Objection = { kind: 'fails', text: 'nft does not answer' };

function bench(found?: Objection) {
  const time = { ms: 1_000_000 };
  const choice = new DataplaneChooser(() => time.ms);
  choice.found(found);
  choice.took(choice.wanted());
  return {
    choice,
    pass: (ms: number) => (time.ms += ms),
    wanted: () => choice.wanted().name,
    move: () => choice.took(choice.wanted()),
  };
}

describe('the choice of a data plane', () => {
  it('is nftables where nothing speaks against it, else iptables, and says why', () => {
    assert.equal(bench().choice.inUse, 'nftables');
    for (const objection of [BRIDGE, BROKEN]) {
      const { choice } = bench(objection);
      assert.deepEqual(choice.wanted(), { name: 'iptables', why: objection.text });
      assert.equal(choice.inUse, 'iptables');
    }
  });

  it('leaves nftables at once where policies need what it cannot do', () => {
    const { choice, wanted } = bench();
    choice.found(BRIDGE);
    assert.equal(wanted(), 'iptables');
  });

  it('fault: nft fails: nftables is left only after some time and some syncs, and one that goes in begins anew', () => {
    const { choice, pass, wanted } = bench();
    for (let sync = 0; sync < FAILING_SYNCS; sync++) choice.found(BROKEN);
    pass(FAILING_MS - 1);
    assert.equal(wanted(), 'nftables', 'too soon');
    pass(1);
    assert.equal(wanted(), 'iptables');
    choice.found(undefined);
    choice.found(BROKEN);
    pass(FAILING_MS);
    assert.equal(wanted(), 'nftables', 'too few syncs');
    for (let sync = 1; sync < FAILING_SYNCS; sync++) choice.found(BROKEN);
    assert.equal(wanted(), 'iptables');
  });

  it('comes back once nothing has spoken against it for the quiet time', () => {
    const { choice, pass, wanted } = bench(BRIDGE);
    pass(MAX_QUIET_MS);
    choice.found(undefined);
    pass(FIRST_QUIET_MS - 1);
    choice.found(undefined);
    assert.equal(wanted(), 'iptables');
    pass(1);
    assert.equal(wanted(), 'nftables');
    choice.found(BROKEN);
    assert.equal(wanted(), 'iptables', 'not while something does');
    choice.found(undefined);
    assert.equal(wanted(), 'iptables', 'the quiet begins anew');
  });

  it('fault: a host that goes to and fro moves less and less often, twice an hour in the end', () => {
    const { choice, pass, wanted, move } = bench();
    let moves = 0;
    /** When each move was, in seconds. */
    const at: number[] = [];
    for (let second = 0; second < 24 * 3600; second++) {
      // The worst that a host can do: an objection whenever it is on nftables, none otherwise.
      choice.found(choice.inUse === 'nftables' ? BRIDGE : undefined);
      if (wanted() !== choice.inUse) {
        move();
        moves++;
        at.push(second);
      }
      pass(1_000);
    }
    const first = at.filter((second) => second < 3600).length;
    const last = at.filter((second) => second >= 23 * 3600).length;
    assert.ok(first <= 18 && last <= 2, `${first} moves in the first hour, ${last} in the last, ${moves} in all`);
    assert.ok(moves > 10, 'it did try');
  });

  it('after a calm hour on nftables the quiet time is the first one again', () => {
    const { choice, pass, wanted, move } = bench();
    for (let round = 0; round < 3; round++) {
      choice.found(BRIDGE);
      move();
      choice.found(undefined);
      pass(FIRST_QUIET_MS * 2 ** round - 1);
      assert.equal(wanted(), 'iptables', `round ${round}`);
      pass(1);
      assert.equal(wanted(), 'nftables', `round ${round}`);
      move();
    }
    pass(CALM_MS);
    choice.found(BRIDGE);
    move();
    choice.found(undefined);
    pass(FIRST_QUIET_MS);
    assert.equal(wanted(), 'nftables');
  });

  it('fault: the other one cannot be used: the one in use stays, and it is tried again later and later', () => {
    const { choice, pass, wanted, move } = bench();
    choice.found(BRIDGE);
    const pauses: number[] = [];
    for (let round = 0; round < 8; round++) {
      assert.equal(wanted(), 'iptables');
      const pauseMs = choice.refused();
      pauses.push(pauseMs / 1000);
      assert.equal(wanted(), 'nftables', 'not at once');
      pass(pauseMs);
    }
    assert.deepEqual(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
    move();
    assert.equal(choice.inUse, 'iptables');
    choice.found(undefined);
    pass(MAX_QUIET_MS);
    assert.equal(wanted(), 'nftables');
    assert.equal(choice.refused(), 10_000, 'after a move the pause is the first one');
  });

  it('nft is asked again soon at first, then once a minute', () => {
    const { choice, pass } = bench(BROKEN);
    assert.equal(choice.askAgainMs, 5_000);
    pass(80_000);
    assert.equal(choice.askAgainMs, 20_000);
    pass(3_600_000);
    assert.equal(choice.askAgainMs, 60_000);
    choice.found(undefined);
    assert.equal(choice.askAgainMs, 5_000);
  });
});
