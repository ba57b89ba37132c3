import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { FAULT_TITLE, faultList, faultTable, mayHoldFaults, shortTitle, withFaultList } from '../../scripts/faults.ts';

const MARKED = 'head\n<!-- faults: written by `npm run faults:write` -->\nold\n<!-- end of faults -->\ntail\n';

describe('npm run faults', () => {
  it('knows a fault by its title, at the head or below another title', () => {
    for (const title of ['fault: a', 'agent restarts fault: killed', 'fault: a fault: b'])
      assert.match(title, FAULT_TITLE);
    for (const title of ['default: a', 'the fault is elsewhere', 'fault:a']) assert.doesNotMatch(title, FAULT_TITLE);
    assert.equal(shortTitle('agent restarts fault: killed once'), 'killed once');
    assert.equal(shortTitle('fault: a group fault: a case'), 'a group a case');
    assert.ok(mayHoldFaults("it('fault: x'") && mayHoldFaults('it(`fault: x') && !mayHoldFaults('// fault: x'));
  });

  it('lists and counts them between the marks of the page', () => {
    const list = faultList(
      new Map([
        ['test/a.test.ts', ['one', 'two <b>']],
        ['test/b.test.ts', ['three']],
      ]),
    );
    assert.match(list, /^\*\*3 faults survived\*\*, in 2 files\./);
    assert.match(list, /### test\/a.test.ts\n\n- one\n- two \\<b\\>/);
    const page = withFaultList(MARKED, list);
    assert.ok(page.startsWith('head\n') && page.endsWith('tail\n') && !page.includes('old'));
    assert.equal(withFaultList(page, list), page);
    assert.throws(() => withFaultList('no marks', list), /marks/);
  });

  it('ends with the sum', () => {
    const file = { file: 'a', passed: 2, failed: 1, skipped: 0, seconds: 1 };
    assert.equal(faultTable([file, { ...file, failed: 0 }]).at(-1), '4 faults survived, 1 failed');
    assert.equal(faultTable([{ ...file, skipped: 3 }]).at(-1), '2 faults survived, 1 failed, 3 not run');
  });

  it('the page lists what the tests name', function () {
    // Branches that add faults at the same time would make each other fail: it has to hold where all are together.
    if (process.env.CI !== 'true') this.skip();
    this.timeout(120_000);
    // In a process of its own: a test file that was loaded here would not run any more.
    const { status, stderr } = spawnSync(process.execPath, ['scripts/check-fault-page.ts'], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });
});
