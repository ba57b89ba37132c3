/** Marks of live flows in a real conntrack table, filled as a busy node's is. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CommandRequest, runCommand } from '../../src/host/command.ts';
import { ffiFile } from '../../src/host/ffi-file.ts';
import { createFlowMarks } from '../../src/host/flow-marks.ts';
import { skipUnlessRoot } from '../support/agent-lab.ts';

const COUNT_PROBE = join(import.meta.dirname, '../support/flow-count-probe.ts');
const TIMEOUT_MS = 20_000;
const MASK = 0xff000000;
/** Epoch bits, without the denied flag. */
const BITS = 0xfe000000;
const mark = (epoch: number): number => epoch * 0x2000000;
const carried = (epoch: number) => ({ value: mark(epoch), mask: MASK });

describe('fault: marks of live flows, real conntrack', function () {
  this.timeout(60_000);
  const namespace = `pclmarks-${process.pid}`;
  let folder: string;
  const run = (request: CommandRequest) =>
    runCommand({ ...request, argv: ['ip', 'netns', 'exec', namespace, ...request.argv] });
  const marks = createFlowMarks(run);

  before(async function () {
    skipUnlessRoot.call(this);
    // Not before: the file is also read for the names of its tests.
    folder = mkdtempSync(join(tmpdir(), 'portcullis-marks-'));
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: TIMEOUT_MS });
  });
  after(async () => {
    if (folder) rmSync(folder, { recursive: true, force: true });
    await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: TIMEOUT_MS }).catch(() => {});
  });

  async function fill(lines: readonly string[]): Promise<void> {
    const file = join(folder, 'flows');
    writeFileSync(file, `${lines.join('\n')}\n`);
    await run({ argv: ['conntrack', '-R', file], timeoutMs: TIMEOUT_MS });
  }

  async function clear(family: 4 | 6, epoch: number): Promise<number> {
    let goes = 0;
    for (; (await marks.count(family, carried(epoch))) > 0; goes++) {
      assert.ok(goes < 30, 'it ends');
      await marks.clearSome(family, carried(epoch), BITS);
    }
    return goes;
  }

  const tcp = (source: string, port: number, server: string, value: number): string =>
    `-I -p tcp -s ${source} -d ${server} --sport ${port} --dport 80 --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 9000 -m ${value}`;

  it('more flows than the tool changes in one go; those of other epochs, and bits of others, stay', async () => {
    const idle = Array.from({ length: 900 }, (_, n) => tcp('10.0.0.1', 1024 + n, '10.9.0.1', mark(3) + 0x80));
    const elsewhere = Array.from({ length: 300 }, (_, n) => tcp('10.0.0.1', 1024 + n, '10.9.0.2', mark(4)));
    await fill([...idle, ...elsewhere]);
    assert.ok((await marks.count(4, carried(3))) > 50);
    if (ffiFile() !== undefined) {
      const argv = [
        process.execPath,
        COUNT_PROBE,
        '4',
        String(mark(3)),
        String(MASK),
        '4',
        String(mark(4)),
        String(MASK),
      ] as const;
      const counts = JSON.parse((await run({ argv, timeoutMs: TIMEOUT_MS })).stdout) as readonly { flows: number }[];
      for (const { flows } of counts) assert.ok(flows > 0, 'the beginning of a long list, by netlink');
    }
    assert.ok((await clear(4, 3)) > 1);
    const listed = async (value: number) =>
      (await run({ argv: ['conntrack', '-L', '-m', `${value}/0xffffffff`], timeoutMs: TIMEOUT_MS })).stdout.split('\n');
    assert.equal((await listed(0x80)).length - 1, 900);
    assert.equal((await listed(mark(4))).length - 1, 300);
    assert.equal(await marks.count(4, carried(3)), 0);
  });

  it('every protocol, both families, translated flows, and a flow that was denied', async () => {
    await fill([
      `-I -p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 1000 -m ${mark(5)}`,
      `-I -p gre -s 10.0.0.1 -d 10.0.0.3 --srckey 1 --dstkey 2 -t 1000 -m ${mark(5)}`,
      `-I -p 4 -s 10.0.0.1 -d 10.0.0.4 -t 1000 -m ${mark(5)}`,
      `-I -p udp -s 10.0.0.1 -d 10.96.0.4 --sport 7 --dport 8 -r 10.0.0.4 -q 10.0.0.1 --reply-port-src 88 --reply-port-dst 7 -t 1000 -m ${mark(5)}`,
      `-I -p udp -s 10.0.0.9 -d 10.0.0.4 --sport 9 --dport 8 -t 1000 -m ${mark(5) + 0x1000000}`,
      `-I -p udp -s fd00::1 -d fd00::2 --sport 7 --dport 8 -t 1000 -m ${mark(5)}`,
      `-I -p icmpv6 -s fd00::1 -d fd00::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 77 -t 1000 -m ${mark(5)}`,
    ]);
    assert.deepEqual([await marks.count(4, carried(5)), await marks.count(6, carried(5))], [4, 2]);
    if (ffiFile() !== undefined) {
      const questions = [4, 6].flatMap((family) => [family, mark(5), MASK]);
      const argv = [
        process.execPath,
        COUNT_PROBE,
        ...questions.map(String),
        '4',
        String(mark(60)),
        String(MASK),
      ] as const;
      const told = [4, 2, 0].map((flows) => ({ flows, mayMiss: false }));
      assert.deepEqual(JSON.parse((await run({ argv, timeoutMs: TIMEOUT_MS })).stdout), told, 'by netlink as well');
    }
    // Several epochs at once: 4 to 7.
    assert.equal((await marks.count(4, { value: mark(4), mask: 0xf9000000 })) > 100, true);
    await clear(4, 5);
    assert.equal(await marks.count(6, carried(5)), 2, 'families are told apart');
    await clear(6, 5);
    assert.deepEqual([await marks.count(4, carried(5)), await marks.count(6, carried(5))], [0, 0]);
    const denied = await run({ argv: ['conntrack', '-L', '-m', '0x1000000/0x1000000'], timeoutMs: TIMEOUT_MS });
    assert.match(denied.stdout, /sport=9 /, 'what says that it was denied stays');
  });

  it('a flow in a zone of its own keeps its mark, and counts', async () => {
    await fill([`-I -p udp -s 10.0.0.9 -d 10.0.0.4 --sport 7 --dport 8 -t 1000 -m ${mark(6)} -w 5`]);
    await marks.clearSome(4, carried(6), BITS);
    assert.equal(await marks.count(4, carried(6)), 1);
  });

  it('a table that cannot be read is no empty table', async () => {
    const broken = createFlowMarks((request) =>
      runCommand({ ...request, argv: ['conntrack', ...request.argv.slice(1), '--no-such-option'] }),
    );
    await assert.rejects(broken.count(4, carried(1)), /conntrack/);
  });
});
