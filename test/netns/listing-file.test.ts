/** Listings by way of a file in memory: whole, or read by a pipe, also where its file system is full. Needs root, for a mount namespace. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { runCommand } from '../../src/host/command.ts';

const PROBE = join(import.meta.dirname, '../support/listing-probe.ts');

describe('a listing in a file', function () {
  this.timeout(60_000);

  it('fault: is whole where the file system is full or becomes it, or is longer than there was room', async function () {
    if (process.getuid?.() !== 0) this.skip();
    const argv = ['unshare', '--mount', process.execPath, PROBE] as const;
    const { stdout } = await runCommand({ argv, timeoutMs: 50_000 });
    assert.deepEqual(JSON.parse(stdout), {
      room: 'file, whole',
      left: '',
      'full meanwhile': 'file, whole',
      'full before': 'pipe, whole',
      'longer than the room': 'file, whole',
      'longer, again': 'file, whole',
      'longer, without the room': 'pipe, whole',
      failed: 'sh -c echo much; echo why >&2; exit 3: exit code 3: why',
      'left at last': 'filling',
    });
  });
});
