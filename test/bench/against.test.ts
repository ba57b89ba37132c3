/** A comparison finds the other version, pairs what both measured, and says what it cannot do. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compareTables } from '../../bench/against/compile.ts';
import { isVersion, NoVersion, openVersion, ROOT } from '../../bench/against/version.ts';
import type { SuiteResult, Table } from '../../bench/types.ts';

function bench(...args: readonly string[]): {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
} {
  return spawnSync(process.execPath, [join(ROOT, 'bench/run.ts'), ...args], { encoding: 'utf8' });
}

describe('bench --against', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'portcullis-against-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('a folder is the other version, bundled by its own script', () => {
    const root = join(directory, 'product');
    mkdirSync(join(root, 'src'), { recursive: true });
    mkdirSync(join(root, 'scripts'));
    writeFileSync(join(root, 'src/main.ts'), '');
    assert.ok(isVersion(root));
    writeFileSync(
      join(root, 'scripts/build.ts'),
      "import { mkdirSync } from 'node:fs';\nmkdirSync(process.argv[2]!);\nconsole.error('built');\n",
    );
    const version = openVersion(root, directory);
    assert.deepEqual(version, { name: root, root, bundle: join(directory, 'dist-other/portcullis.mjs') });
    writeFileSync(join(root, 'scripts/build.ts'), "throw new Error('no packages here');\n");
    assert.throws(
      () => openVersion(root, directory),
      (error) => error instanceof NoVersion && /no packages here/.test(error.message),
    );
  });

  it('what is neither a folder nor a ref is refused, and takes no option for a ref', () => {
    for (const what of ['no-such-ref', '--all', directory]) {
      assert.ok(!isVersion(what), what);
      assert.throws(() => openVersion(what, directory), /neither a git ref nor a folder with src\/main\.ts/);
    }
  });

  it('wrong arguments are told before anything is measured', () => {
    const told = (args: readonly string[], why: RegExp): void => {
      const { status, stderr } = bench(...args);
      assert.match(stderr, why);
      assert.match(stderr, /--against VERSION/);
      assert.equal(status, 2);
    };
    told(['cidr', '--against', ROOT], /suite cidr cannot be measured against another version/);
    told(['event', '--against', 'no-such-ref'], /"no-such-ref" is neither/);
    told(['event', '--quick', '--full'], /exclude each other/);
    told(['weather'], /no suite "weather"/);
    told(['event', '--backends', 'nftables,ebtables'], /--backends takes iptables-nft, iptables-legacy, nftables/);
    const { status, stdout } = bench('--help');
    assert.deepEqual([status, /--against VERSION/.test(stdout)], [0, true]);
  });

  it('pairs rows by what they say, takes medians over the rounds, and leaves out what one side lacks', () => {
    const result = (...rows: Table['rows']): SuiteResult => ({
      suite: 'compile',
      machine: { cpu: '', cores: 1, memoryGiB: 1, kernel: '', node: '', startedAt: 1 },
      tables: [
        { title: 'targets', columns: ['what', 'measured'], rows: [['promised', '1.00 s']] },
        { title: 'one event', columns: ['cluster', 'event', 'plan', 'p99', 'total', 'p99'], rows },
      ],
      raw: undefined,
    });
    const [other, own] = [{ name: 'before' }, { name: 'this tree' }];
    const results = new Map<unknown, readonly SuiteResult[]>([
      [
        other,
        [1, 2, 3].map((ms) =>
          result(
            ['10 pods', 'added', `${ms}.00 ms`, '8.00 ms', '-', '9.00 ms'],
            ['10 pods', 'gone', '1.00 ms', '-', '-', '-'],
          ),
        ),
      ],
      [
        own,
        [
          result(['10 pods', 'added', '500 µs', '8.00 ms', '1.00 s', '4.50 ms']),
          result(['10 pods', 'new', '1.00 ms', '-', '-', '-']),
        ],
      ],
    ]);
    assert.deepEqual(compareTables([other, own], results), [
      {
        title: 'what both versions measure',
        columns: ['what', 'before', 'this tree', 'ratio'],
        rows: [
          ['one event: 10 pods, added: plan', '3.00 ms', '500 µs', '0.25x'],
          ['one event: 10 pods, added: plan, p99', '8.00 ms', '8.00 ms', '1.00x'],
          ['one event: 10 pods, added: total, p99', '9.00 ms', '4.50 ms', '0.50x'],
        ],
      },
    ]);
  });
});
