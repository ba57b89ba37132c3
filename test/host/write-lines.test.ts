/** What a tool reads of its input when the process that writes it is killed: whole lines. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_WRITE_BYTES, writeLines } from '../../src/host/write-lines.ts';

const SOURCE = join(import.meta.dirname, '../../src/host/command.ts');
const PATIENCE_MS = 10_000;

/** Lines as long as those of ipset; each tells its place, so that a cut one cannot pass for another. */
function linesOf(count: number, first = 0): string {
  return Array.from({ length: count }, (_, index) => `add SET 10.0.0.1,6:${(first + index) * 7919}\n`).join('');
}

/** Keeps what it is given, write by write, and takes its time over each. */
class Slow extends Writable {
  readonly writes: string[] = [];
  inFlight = 0;
  mostInFlight = 0;

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error) => void): void {
    this.#take([chunk], callback);
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], callback: (error?: Error) => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      callback,
    );
  }

  #take(chunks: readonly Buffer[], callback: (error?: Error) => void): void {
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
    this.writes.push(Buffer.concat(chunks).toString());
    setImmediate(() => {
      this.inFlight--;
      callback();
    });
  }
}

describe('writing lines', () => {
  it('each write is of whole lines, and small enough for a socket to take it at once', async () => {
    for (const parts of [[], [''], ['one\n'], [linesOf(1)], [linesOf(500), linesOf(2000, 500), linesOf(3, 2500)]]) {
      const input = new Slow();
      await writeLines(input, parts);
      assert.equal(input.writes.join(''), parts.join(''));
      assert.ok(input.writes.every((text) => text.endsWith('\n') && Buffer.byteLength(text) <= MAX_WRITE_BYTES));
      assert.ok(input.mostInFlight <= 1);
      assert.ok(input.writableFinished || input.writableEnded);
    }
  });

  it('a piece is filled to the last byte that fits', async () => {
    const full = `${'x'.repeat(MAX_WRITE_BYTES - 1)}\n`;
    for (const [part, lengths] of [
      [full, [2048]],
      [`${full}a\n`, [2048, 2]],
      [`a\n${full}`, [2, 2048]],
      [`a\nb\n${full}c\n`, [4, 2048, 2]],
    ] as const) {
      const input = new Slow();
      await writeLines(input, [part]);
      assert.deepEqual(
        input.writes.map((text) => text.length),
        lengths,
      );
    }
  });

  it('counts bytes, not characters; a longer line stays in one piece', async () => {
    const wide = 'ü'.repeat(700);
    const long = 'x'.repeat(3 * MAX_WRITE_BYTES);
    const input = new Slow();
    await writeLines(input, [`${wide}\n${wide}\nshort\n${long}\nend\n`]);
    assert.deepEqual(input.writes, [`${wide}\n`, `${wide}\nshort\n`, `${long}\n`, 'end\n']);
  });

  it('ends when the reader is gone', async () => {
    const input = new Slow();
    input.on('error', () => {});
    const writing = writeLines(input, [linesOf(5000)]);
    setImmediate(() => input.destroy(new Error('EPIPE')));
    await writing;
    assert.ok(input.writes.length < 10, `${input.writes.length} writes`);
  });
});

describe('fault: a process is killed while it feeds a tool', () => {
  let folder: string;
  const writers: ChildProcess[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-write-'));
  });
  afterEach(() => {
    for (const writer of writers.splice(0)) writer.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (const deadline = performance.now() + PATIENCE_MS; !holds(); await sleep(5))
      if (performance.now() > deadline) assert.fail(`never: ${what}`);
  };
  const sizeOf = (file: string): number => (existsSync(file) ? statSync(file).size : 0);

  /** Kills a writer whose reader runs `read` (sh), once `isTime`; what was read is in the file. */
  async function killed(input: string, file: string, read: string, isTime: () => boolean): Promise<string> {
    const script = `
      const { runCommand } = await import(${JSON.stringify(SOURCE)});
      const { readFileSync, writeFileSync } = await import('node:fs');
      const argv = ['sh', '-c', ${JSON.stringify(`${read}; echo >${file}.end`)}];
      // By then the pipe is full.
      setTimeout(() => writeFileSync(${JSON.stringify(`${file}.fed`)}, ''), 200);
      await runCommand({ argv, stdin: [readFileSync(0, 'utf8')], timeoutMs: 60000 });`;
    const writer = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    writers.push(writer);
    writer.stdin.end(input);
    await until('the moment to kill', isTime);
    writer.kill('SIGKILL');
    writeFileSync(`${file}.go`, '');
    await until('the reader is done', () => existsSync(`${file}.end`));
    return readFileSync(file, 'utf8');
  }

  const expectWholeLines = (read: string, input: string): void => {
    assert.ok(read.length > 0 && read.length < input.length, `${read.length} of ${input.length} bytes`);
    assert.ok(input.startsWith(read));
    assert.equal(read.slice(-1), '\n', `cut: ${read.slice(read.lastIndexOf('\n') + 1)}`);
  };

  it('a reader that has not begun finds whole lines, whatever the pipe had room for', async () => {
    const rounds = Array.from({ length: 4 }, async (_, round) => {
      const input = `${'#'.repeat(round * 5)}\n${linesOf(60_000)}`;
      const file = join(folder, `late-${round}`);
      const read = `while [ ! -e ${file}.go ]; do sleep 0.02; done; cat >${file}`;
      expectWholeLines(await killed(input, file, read, () => existsSync(`${file}.fed`)), input);
    });
    await Promise.all(rounds);
  });

  it('so does one that reads while it is written', async () => {
    for (let round = 1; round <= 5; round++) {
      const input = linesOf(400_000);
      const file = join(folder, `slow-${round}`);
      const piece = `dd bs=5003 count=1 2>/dev/null | tee -a ${file} | wc -c`;
      const read = `while [ $(${piece}) -gt 0 ]; do :; done`;
      expectWholeLines(await killed(input, file, read, () => sizeOf(file) > round * 40_000), input);
    }
  });
});
