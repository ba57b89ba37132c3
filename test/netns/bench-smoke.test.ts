/** Packet benchmark and reactions run, and gives numbers that are numbers. What they are is the benchmark's matter. Needs root and ipset. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, thisVersion } from '../../bench/against/version.ts';
import { measureReactions } from '../../bench/reaction.ts';
import { sleep } from '../../bench/stalls.ts';
import { bareMs, packetsMs } from '../../bench/reaction/tables.ts';
import { run } from '../../bench/packet.ts';
import { type Measured, TRAFFIC } from '../../bench/packet/measure.ts';
import { ratios } from '../../bench/packet/tables.ts';

describe('benchmark suite packet', () => {
  it('finishes quickly, with a finite ratio for each variant and kind of traffic', async function () {
    this.timeout(60_000);
    const { tables, raw } = await run({ quick: true, rounds: 2 });
    const { results } = raw as { results: readonly { readonly variants: readonly Measured[] }[] };
    for (const { variants } of results) {
      assert.deepEqual(
        variants.map(({ rules, backend = 'no' }) => `${rules}, ${backend}`),
        [
          'none, no',
          'none again, no',
          'linear, iptables-nft',
          'ours, iptables-nft',
          'linear, iptables-legacy',
          'ours, iptables-legacy',
          'ours, nftables',
        ],
      );
      for (const variant of variants) {
        for (const traffic of TRAFFIC) {
          const values = ratios(variant, variants, traffic);
          assert.equal(values.length, 2);
          for (const value of values)
            assert.ok(Number.isFinite(value) && value > 0, `${variant.rules} ${traffic}: ${value}`);
        }
        assert.equal(variant.ruleCount > 0, !variant.rules.startsWith('none'), variant.rules);
      }
    }
    assert.ok(tables.every(({ rows }) => rows.length > 0));
  });
});

describe('benchmark of reactions', () => {
  it('follows each kind of change with packets, of one agent or two in turn, idle and under load', async function () {
    this.timeout(120_000);
    const one = (directory: string) => [thisVersion(directory)];
    const both = (directory: string) => one(directory).flatMap((own) => [own, { ...own, name: 'again' }]);
    const cells = [
      ...(await measureReactions(one, { quick: true, backends: ['iptables-nft'] })),
      ...(await measureReactions(both, { quick: true, backends: ['nftables'] })),
    ];
    assert.deepEqual(
      cells.flatMap(({ backend, sides }) => sides.map(({ version }) => `${version}, ${backend}`)),
      ['this tree, iptables-nft', 'this tree, nftables', 'again, nftables'],
    );
    for (const { samples } of cells.flatMap(({ sides }) => sides)) {
      for (const [kind, measured] of Object.values(samples).flatMap((load) => Object.entries(load))) {
        for (const ms of [packetsMs(measured), bareMs(measured)]) assert.ok(ms > 0 && ms < 5_000, `${kind}: ${ms} ms`);
      }
    }
  });
});

describe('a benchmark that is stopped', () => {
  it('leaves no file and no process, whatever it had started', async function () {
    this.timeout(60_000);
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-stopped-'));
    try {
      const argv = [join(ROOT, 'bench/run.ts'), 'memory', '--quick', '--against', ROOT];
      const bench = spawn(process.execPath, argv, { env: { ...process.env, TMPDIR: folder }, stdio: 'ignore' });
      const ended = once(bench, 'exit');
      while (!processesIn(folder).some((command) => command.includes(' agent '))) {
        assert.equal(bench.exitCode, null, 'ended before its agent ran');
        await sleep(50);
      }
      bench.kill('SIGTERM');
      assert.deepEqual(await ended, [143, null]);
      while (processesIn(folder).length > 0) await sleep(20);
      assert.deepEqual(readdirSync(folder), []);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** Command lines that name a file in `folder`. */
function processesIn(folder: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(commandLine)
    .filter((command) => command.includes(folder));
}

function commandLine(pid: string): string {
  try {
    return readFileSync(join('/proc', pid, 'cmdline'), 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
