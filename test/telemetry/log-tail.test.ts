import assert from 'node:assert/strict';
import { LogTail } from '../../src/telemetry/log-tail.ts';

describe('LogTail', () => {
  it('keeps the last lines, oldest first, and no more than it has room for', () => {
    const tail = new LogTail();
    assert.equal(tail.text(), '');
    for (let index = 1; index <= 600; index++) tail.write(`${index}\n`);
    const lines = tail.text().trimEnd().split('\n');
    assert.deepEqual([lines.length, lines[0], lines.at(-1)], [500, '101', '600']);
    tail.write(`${'x'.repeat(130 * 1024)}\n`);
    assert.equal(tail.text(), '', 'one that is longer than all of it');
    tail.write('y\n');
    assert.equal(tail.text(), 'y\n');
  });
});
