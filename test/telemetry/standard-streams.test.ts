import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const source = (path: string): string => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).pathname);

/** Logs far more than a pipe holds, warns, and says on descriptor 3 that it got to the end; then it goes on, or crashes. */
const PROGRAM = `
import { writeSync } from 'node:fs';
import { openAgentLog } from ${source('telemetry/agent-log.ts')};
import { createAgentMetrics, createRegistry } from ${source('telemetry/metrics.ts')};
const metrics = createAgentMetrics(createRegistry(), { processMetrics: false });
const { log, close } = openAgentLog('info', metrics);
for (let line = 0; line < 20_000; line++) {
  log.info('x'.repeat(100));
  if (line % 1000 === 0) {
    process.emitWarning('y'.repeat(100));
    await new Promise((resolve) => setImmediate(resolve));
  }
}
const { body } = await metrics.scrape();
writeSync(3, 'end ' + / (\\d+)$/m.exec(body.match(/^portcullis_log_lines_dropped_total .*$/m)[0])[1] + '\\n');
close();
if (process.argv.includes('crash')) throw new Error('z'.repeat(1_000_000));
process.exit(0);
`;

describe('fault: standard output or standard error is not read', function () {
  this.timeout(30_000);
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'portcullis-streams-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** The shell's command line, with NODE for the program; resolves to lines dropped, as the program counted them. */
  async function run(commandLine: string): Promise<number> {
    const report = join(directory, 'report');
    const node = `${process.execPath} --input-type=module -e "$PROGRAM" --`;
    const child = spawn('sh', ['-c', commandLine.replace('NODE', node).replace('REPORT', report)], {
      env: { ...process.env, PROGRAM },
      // Pipes to this process are sockets, and nobody reads them.
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    await new Promise((resolve) => child.on('exit', resolve));
    const found = /^end (\d+)$/m.exec(readFileSync(report, 'utf8'));
    rmSync(report);
    assert.ok(found, 'it got to its end');
    return Number(found[1]);
  }

  // The reader's end: `sleep` holds the pipe and reads nothing; it is ended when the program has.
  const unread = (redirect: string, word = ''): string =>
    `{ NODE ${word} 3>REPORT ${redirect}; kill $(cat REPORT.pid); } | { sleep 25 & echo $! >REPORT.pid; wait; }`.replaceAll(
      'REPORT.pid',
      join(directory, 'pid'),
    );

  it('a pipe nobody reads', async () => assert.ok((await run(unread('2>/dev/null'))) > 5000));
  it('both streams on one pipe nobody reads', async () => assert.ok((await run(unread('2>&1'))) > 5000));
  it('a crash whose report finds no room ends the process', async () => {
    assert.ok((await run(unread('2>&1', 'crash'))) > 5000);
  });
  it('a socket nobody reads', async () => assert.ok((await run('NODE 3>REPORT')) > 5000));
  it('a reader that is gone', async () => assert.ok((await run('{ sleep 0.3; NODE 3>REPORT; } | true')) > 5000));
  it('a file: nothing is dropped', async () => {
    const file = join(directory, 'log');
    assert.equal(await run(`NODE 3>REPORT >${file} 2>/dev/null`), 0);
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    assert.equal(lines.filter((line) => line.includes('xxx')).length, 20_000);
    assert.equal(lines.filter((line) => line.includes('yyy')).length, 20);
  });
});
