import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kernelScope, readKept, writeKept } from '../../src/host/kept-text.ts';

describe('a text that is kept', () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pcl-kept-'));
    file = join(folder, 'text');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is what was written last, and nothing else is left', async () => {
    assert.equal(await readKept(file), undefined);
    await writeKept(file, 'one\n');
    await writeKept(file, 'two\n');
    assert.equal(await readKept(file), 'two\n');
    assert.deepEqual(readdirSync(folder), ['text']);
  });

  it('fault: stays what it was where the disk is full', async () => {
    await writeKept(file, 'one\n');
    symlinkSync('/dev/full', `${file}.new`);
    await assert.rejects(writeKept(file, 'two\n'), /ENOSPC/);
    assert.equal(await readKept(file), 'one\n');
  });

  it('fault: a folder that is not there is told', async () => {
    await assert.rejects(writeKept(join(folder, 'none', 'text'), 'one\n'), /ENOENT/);
    assert.equal(await readKept(join(folder, 'none', 'text')), undefined);
  });

  it('fault: what nobody can have kept is not read', async () => {
    writeFileSync(file, '');
    truncateSync(file, 17 * 1024 * 1024);
    await assert.rejects(readKept(file), /longer than/);
    await assert.rejects(readKept(folder), /EISDIR/);
  });

  it('belongs to this boot and network namespace', async () => {
    const scope = await kernelScope();
    assert.match(scope ?? '', /^[0-9a-f-]{36} net:\[\d+\]$/);
    assert.equal(await kernelScope(), scope);
  });
});
