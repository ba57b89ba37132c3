import assert from 'node:assert/strict';
import { LogOutput, type Sink } from '../../src/telemetry/log-output.ts';

/** A pipe with room for so many bytes, and its reader. */
class Pipe implements Sink {
  room: number;
  isGone = false;
  text = '';

  constructor(room: number) {
    this.room = room;
  }

  write(bytes: Uint8Array): number {
    if (this.isGone) throw Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
    const taken = Math.min(bytes.length, this.room);
    this.room -= taken;
    this.text += Buffer.from(bytes.subarray(0, taken)).toString();
    return taken;
  }
}

function bench(room: number, maxWaitingBytes = 20) {
  const pipe = new Pipe(room);
  const timers: (() => void)[] = [];
  const output = new LogOutput({
    sink: pipe,
    maxWaitingBytes,
    lossLine: (count) => `(${count} lost)\n`,
    after: (_, callback) => {
      timers.push(callback);
      return () => void timers.splice(timers.indexOf(callback), 1);
    },
  });
  const retry = (): void => timers.splice(0, 1)[0]!();
  return { pipe, output, timers, retry };
}

describe('fault: nobody reads the log', () => {
  it('lines go out at once while there is room', () => {
    const { pipe, output, timers } = bench(100);
    output.write('one\n');
    output.write('two\n');
    assert.equal(pipe.text, 'one\ntwo\n');
    assert.equal(timers.length, 0);
  });

  it('a full pipe is tried again later, and no line is torn or out of order', () => {
    const { pipe, output, retry } = bench(6);
    for (const line of ['one\n', 'two\n', 'three\n']) output.write(line);
    assert.equal(pipe.text, 'one\ntw');
    retry();
    pipe.room = 3;
    retry();
    assert.equal(pipe.text, 'one\ntwo\nt');
    pipe.room = 100;
    retry();
    assert.equal(pipe.text, 'one\ntwo\nthree\n');
    assert.equal(output.dropped, 0);
  });

  it('lines beyond the limit are dropped, counted, and told where they are missing', () => {
    const { pipe, output, retry } = bench(0);
    for (let line = 10; line < 30; line++) output.write(`${line}\n`);
    assert.equal(output.dropped, 14);
    pipe.room = 1000;
    retry();
    assert.equal(pipe.text, '10\n11\n12\n13\n14\n15\n(14 lost)\n');
    output.write('on\n');
    assert.ok(pipe.text.endsWith('(14 lost)\non\n'));
    assert.equal(output.dropped, 14);
  });

  it('memory stays within the limit however much is logged', () => {
    const { output, timers } = bench(0, 1000);
    for (let line = 0; line < 100_000; line++) output.write('x'.repeat(99));
    assert.equal(output.dropped, 99_990);
    assert.equal(timers.length, 1);
  });

  it('a reader that is gone costs the lines, not the agent; one that comes back is told', () => {
    const { pipe, output } = bench(1000);
    pipe.isGone = true;
    output.write('one\n');
    output.write('two\n');
    assert.equal(output.dropped, 2);
    pipe.isGone = false;
    output.write('three\n');
    assert.equal(pipe.text, '(2 lost)\nthree\n');
    assert.equal(output.dropped, 2);
  });
});
