import assert from 'node:assert/strict';
import { WatchedProcess } from '../../bench/watched-process.ts';

describe('WatchedProcess', () => {
  const kept = process.env.NODE_EXTRA_CA_CERTS;

  afterEach(() => {
    if (kept === undefined) delete process.env.NODE_EXTRA_CA_CERTS;
    else process.env.NODE_EXTRA_CA_CERTS = kept;
  });

  it('gets no settings of Node.js but those it is given', async () => {
    process.env.NODE_EXTRA_CA_CERTS = '/nonexistent';
    const child = new WatchedProcess(['sh', '-c', 'env; echo end'], { NODE_OPTIONS: '--no-warnings' });
    await child.said(/^end$/);
    assert.deepEqual(child.linesWith(/^NODE_/), ['NODE_OPTIONS=--no-warnings']);
    assert.equal(child.count(/^PATH=/), 1);
  });
});
