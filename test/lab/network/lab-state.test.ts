import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { claimPrefix, removeLab, sweep } from '../../../lab/network/lab-state.ts';

describe('lab state', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'lab-state-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const disown = (directory: string, change: object): void => {
    const file = join(directory, 'owner.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
  };

  it('gives every lab a prefix of its own', () => {
    const first = claimPrefix(undefined, root);
    const second = claimPrefix(undefined, root);
    assert.notEqual(first.prefix, second.prefix);
    assert.throws(() => claimPrefix(first.prefix, root), /in use/);
    for (const prefix of ['pcl-', 'pcl--', 'lab-x-', 'pcl-a-b-', 'pcl-../x-'])
      assert.throws(() => claimPrefix(prefix, root), /does not match/);
  });

  it('sweeps labs of processes that ended, of later processes with their pid, and of earlier boots', () => {
    const mine = claimPrefix(undefined, root);
    const dead = [{ pid: 2 ** 30 }, { startTime: '1' }, { bootId: 'before' }].map((change) => {
      const claim = claimPrefix(undefined, root);
      disown(claim.directory, change);
      return claim;
    });
    assert.deepEqual([...sweep(root)].sort(), dead.map((claim) => claim.prefix).sort());
    assert.ok(existsSync(mine.directory));
    for (const claim of dead) assert.ok(!existsSync(claim.directory));
  });

  it('leaves alone what it does not understand', () => {
    const claim = claimPrefix(undefined, root);
    writeFileSync(join(claim.directory, 'owner.json'), 'half a fi');
    assert.deepEqual(sweep(root), []);
    assert.deepEqual(sweep(join(root, 'absent')), []);
  });

  it('removes a lab, and keeps its directory if more of it may still appear', () => {
    const claim = claimPrefix(undefined, root);
    assert.equal(removeLab(claim, true), undefined);
    assert.ok(existsSync(claim.directory));
    assert.equal(removeLab(claim), undefined);
    assert.ok(!existsSync(claim.directory));
  });
});
