import assert from 'node:assert/strict';
import { OwnCommits } from '../../../../src/dataplane/iptables/drift/own-commits.ts';

const OURS = { family: 4, touched: 'chains', program: 'iptables-nft-re' } as const;
const LOOKS_LIKE_OURS = OURS;

describe('fault: a commit of others is told from ours', () => {
  let nowMs = 0;
  let own: OwnCommits;
  beforeEach(() => {
    nowMs = 0;
    own = new OwnCommits(() => nowMs);
  });
  const commit = (): void => {
    own.began(4);
    own.ended(4, true, true);
  };

  it('ours, told of while it runs or after', () => {
    own.began(4);
    assert.ok(own.isOurs(OURS));
    own.ended(4, true, true);
    assert.ok(!own.isOurs(LOOKS_LIKE_OURS), 'paid for already');
    commit();
    assert.ok(own.isOurs(OURS));
    assert.ok(!own.isOurs(LOOKS_LIKE_OURS));
  });

  it('others: by another program, in another family, without a commit of ours', () => {
    assert.ok(!own.isOurs(LOOKS_LIKE_OURS));
    own.began(4);
    assert.ok(!own.isOurs({ ...OURS, program: 'nft' }));
    assert.ok(!own.isOurs({ family: 6, touched: 'hooks', program: 'ip6tables-nft-r' }));
  });

  it('one of others under ours: one of the two is left over', () => {
    own.began(4);
    const told = [own.isOurs(LOOKS_LIKE_OURS), own.isOurs(OURS)];
    own.ended(4, true, true);
    assert.deepEqual(told, [true, false]);
  });

  it('ours that failed wrote nothing, so it pays for nothing', () => {
    own.began(4);
    own.ended(4, false, true);
    assert.ok(!own.isOurs(LOOKS_LIKE_OURS));
  });

  it('ours that nobody told of in time: told of once as missed', () => {
    commit();
    nowMs = 2_000;
    assert.ok(!own.isMissed(4));
    nowMs = 4_000;
    assert.ok(own.isMissed(4));
    assert.ok(!own.isMissed(4));
    assert.ok(!own.isOurs(LOOKS_LIKE_OURS));
  });

  it('one that has just begun to listen may tell of ours, and need not', () => {
    own.began(4);
    own.ended(4, true, false);
    assert.ok(own.isOurs(OURS));
    own.began(4);
    own.ended(4, true, false);
    nowMs = 10_000;
    assert.ok(!own.isMissed(4));
    assert.ok(!own.isOurs(LOOKS_LIKE_OURS), 'too late to be ours');
  });

  it('nothing is missed where nobody listened', () => {
    own.began(4);
    own.ended(4, true, false);
    commit();
    own.forget(4);
    nowMs = 60_000;
    assert.ok(!own.isMissed(4));
  });
});
