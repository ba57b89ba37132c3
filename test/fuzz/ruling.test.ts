/** What a probe proves, and what it does not. */
import assert from 'node:assert/strict';
import type { ProbeResult, ProberLife } from '../../lab/network/types.ts';
import { movedCounters } from './torture/evidence.ts';
import { type FlowWitness, ruleOn, witnessOf } from './torture/ruling.ts';

const AWAKE: ProberLife = { nowMs: 9_000, stalls: [] };
const ASLEEP: ProberLife = { nowMs: 9_000, stalls: [{ fromMs: 900, toMs: 4_000 }] };
const NODDED: ProberLife = { nowMs: 9_000, stalls: [{ fromMs: 900, toMs: 1_100 }] };

function ruling(
  predicted: boolean,
  outcome: ProbeResult['outcome'],
  more: Omit<Partial<ProbeResult>, 'server'> & {
    client?: ProberLife;
    server?: ProberLife | undefined;
    witness?: FlowWitness;
  } = {},
): string {
  const { client = AWAKE, server, witness = 'unknown', ...result } = { server: AWAKE, ...more };
  return ruleOn({
    predicted,
    result: { outcome, atMs: 1_000, rttUs: 2_000_000, sent: 1, ...result },
    client,
    server,
    witness,
  }).kind;
}

describe('fault: what a probe of the torture proves', () => {
  it('an answer is as good as the prediction, whoever slept', () => {
    assert.equal(ruling(true, 'reached', { server: ASLEEP }), 'agrees');
    assert.equal(ruling(false, 'reached', { server: ASLEEP, client: ASLEEP }), 'wrong');
    assert.equal(ruling(false, 'refused'), 'wrong');
  });

  it('silence is worth what its probers are', () => {
    assert.equal(ruling(true, 'blocked'), 'wrong');
    assert.equal(ruling(true, 'blocked', { server: ASLEEP }), 'starved');
    assert.equal(ruling(true, 'blocked', { server: undefined }), 'starved');
    assert.equal(ruling(true, 'blocked', { client: ASLEEP }), 'starved');
    assert.equal(ruling(true, 'blocked', { server: NODDED }), 'wrong', 'a tenth of a second of two was lost');
    assert.equal(ruling(true, 'blocked', { server: NODDED, rttUs: 250_000 }), 'starved');
    assert.equal(ruling(true, 'blocked', { sent: 0 }), 'starved');
  });

  it('a dropped packet is proven by somebody who could have answered it', () => {
    assert.equal(ruling(false, 'blocked'), 'agrees');
    assert.equal(ruling(false, 'blocked', { server: ASLEEP }), 'starved');
    assert.equal(ruling(false, 'blocked', { sent: 0 }), 'starved');
  });

  it('the connection tables know better than the probers', () => {
    assert.equal(ruling(true, 'blocked', { server: ASLEEP, witness: 'dropped' }), 'wrong');
    assert.equal(ruling(true, 'blocked', { witness: 'unanswered' }), 'starved');
    assert.equal(ruling(true, 'blocked', { witness: 'answered' }), 'wrong');
    const entry = 'udp 17 29 src=a dst=b sport=1 dport=2 [UNREPLIED] src=b dst=a sport=2 dport=1\n';
    assert.equal(witnessOf([entry, '']), 'dropped');
    assert.equal(witnessOf(['', entry]), 'dropped');
    assert.equal(witnessOf([entry, entry]), 'unanswered');
    assert.equal(witnessOf([undefined, entry.replace('[UNREPLIED] ', '')]), 'answered');
    assert.equal(witnessOf([undefined, undefined]), 'unknown');
  });

  it('an error is a starved prober or a fault, by its words', () => {
    assert.equal(ruling(true, 'error', { detail: 'connected, but not greeted' }), 'starved');
    assert.equal(ruling(false, 'error', { detail: 'connected, but not greeted' }), 'wrong');
    assert.equal(ruling(true, 'error', { detail: 'the prober gives no sign of life' }), 'starved');
    assert.equal(ruling(true, 'error', { detail: 'bind: Address already in use' }), 'wrong');
  });

  it('counters that moved are found, the same rule twice by its order', () => {
    const before = '### x\n*mangle\n[1:60] -A A -j DROP\n[0:0] -A A -j DROP\n*raw\n[5:1] -A A -j DROP\n';
    const after = before.replace('[0:0]', '[2:80]').replace('*raw', '[1:1] -A B -j RETURN\n*raw');
    assert.deepEqual(movedCounters(before, after).split('\n'), [
      '0:0 -> 2:80  ### x *mangle -A A -j DROP',
      'absent -> 1:1  ### x *mangle -A B -j RETURN',
    ]);
    const nft =
      '### nft\n\tchain a {\n\t\tcounter packets 1 bytes 60 drop\n\t\tcounter packets 0 bytes 0 return\n\t}\n';
    assert.equal(
      movedCounters(nft, nft.replace('packets 0 bytes 0', 'packets 2 bytes 80')),
      '0:0 -> 2:80  ### nft chain a return',
    );
  });
});
