import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';

import { readBody } from '../../src/cluster/read-body.ts';

const explain = (error: unknown): Error => new Error(`explained: ${(error as Error).message}`);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('readBody', () => {
  it('gives each piece once, in order, however slow the reader is, and ends with the stream', async () => {
    const stream = new PassThrough();
    const pieces = Array.from({ length: 50 }, (_, index) => `${index},`);
    for (const piece of pieces) stream.write(piece);
    stream.end();
    let read = '';
    for await (const chunk of readBody(stream, explain)) {
      read += chunk.toString();
      await turn();
    }
    assert.equal(read, pieces.join(''));
  });

  it('lets what comes wait in the stream while nobody asks', async () => {
    const stream = new PassThrough({ highWaterMark: 1_024 });
    const body = readBody(stream, explain)[Symbol.asyncIterator]();
    stream.write('first');
    assert.equal((await body.next()).value?.toString(), 'first');
    let written = 0;
    while (written < 100_000 && stream.write(Buffer.alloc(100))) {
      written += 100;
      await turn();
    }
    assert.ok(written < 10_000, `${written} bytes were taken`);
    let read = 0;
    while (read < written) read += (await body.next()).value?.length ?? 0;
  });

  it('fault: what came before a stream broke is given first, then why it broke', async () => {
    const stream = new PassThrough();
    const body = readBody(stream, explain)[Symbol.asyncIterator]();
    const first = body.next();
    stream.write('first');
    await first;
    stream.write('second');
    await turn();
    stream.destroy(new Error('reset'));
    await turn();
    assert.equal((await body.next()).value?.toString(), 'second');
    await assert.rejects(body.next(), /^Error: explained: reset$/);
  });

  it('fault: a stream that is closed without an end, or breaks while it is waited for, is no whole body', async () => {
    for (const error of [undefined, new Error('reset')]) {
      const stream = new PassThrough();
      const waiting = readBody(stream, explain)[Symbol.asyncIterator]().next();
      await turn();
      stream.destroy(error);
      await assert.rejects(waiting, /^Error: explained: (the connection was closed|reset)$/);
    }
  });

  it('closes the stream when the reader stops early', async () => {
    const stream = new PassThrough();
    stream.write('first');
    for await (const _ of readBody(stream, explain)) break;
    assert.equal(stream.destroyed, true);
  });
});
