import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import {
  ALONE,
  againAlone,
  IN_PAIRS,
  LONGEST,
  readOptions,
  rounds,
  type SuiteResult,
  strict,
  suiteOf,
  summarise,
  USAGE,
  workersFor,
} from '../../scripts/test-summary.ts';

const PURE: SuiteResult = { name: 'pure', passed: 7, failed: 0, skipped: [] };
const KERNEL: SuiteResult = { name: 'kernel', passed: 2, failed: 1, skipped: ['a b', 'c'] };

describe('scripts/run-tests: summarise', () => {
  it('ends with exactly one line of totals, after one per suite and the names of what was skipped', () => {
    const { lines, exitCode } = summarise([PURE, KERNEL]);
    assert.deepEqual(lines, [
      'pure: 7 passed, 0 failed, 0 skipped',
      'kernel: 2 passed, 1 failed, 2 skipped',
      '  skipped: a b; c',
      '9 passed, 1 failed, 2 skipped',
    ]);
    assert.equal(exitCode, 1);
  });

  it('gives the reason for a suite that was left out', () => {
    const { lines, exitCode } = summarise([PURE, { ...KERNEL, passed: 0, failed: 0, reason: 'needs root' }]);
    assert.equal(lines.at(-2), '  skipped: needs root: a b; c');
    assert.equal(lines.at(-1), '7 passed, 0 failed, 2 skipped');
    assert.equal(exitCode, 0);
  });

  it('does not call a run without tests a success', () => {
    assert.deepEqual(summarise([]), { lines: ['0 passed, 0 failed, 0 skipped'], exitCode: 1 });
  });
});

describe('scripts/run-tests: strict', () => {
  it('turns kernel tests that did not run into failures and still names them', () => {
    const { lines, exitCode } = summarise([PURE, { ...KERNEL, failed: 0, reason: 'needs root' }].map(strict));
    assert.deepEqual(lines, [
      'pure: 7 passed, 0 failed, 0 skipped',
      'kernel: 2 passed, 2 failed, 0 skipped',
      '  must run with CI=true, but did not: needs root: a b; c',
      '9 passed, 2 failed, 0 skipped',
    ]);
    assert.equal(exitCode, 1);
  });

  it('leaves other suites, and kernel tests that ran, alone', () => {
    const skipping = { ...PURE, skipped: ['x'] };
    assert.deepEqual(strict(skipping), skipping);
    assert.equal(summarise([strict({ ...KERNEL, failed: 0, skipped: [] })]).exitCode, 0);
  });
});

describe('scripts/run-tests: readOptions', () => {
  const table = [
    [[], ['checks', 'pure', 'kernel'], []],
    [['--pure'], ['pure'], []],
    [['--kernel'], ['kernel'], []],
    [['--checks'], ['checks'], []],
    [['--kernel', '--checks'], ['checks', 'kernel'], []],
    [['--no-checks'], ['pure', 'kernel'], []],
    [['test/a.test.ts'], ['pure', 'kernel'], ['test/a.test.ts']],
    [['--pure', 'test/a.test.ts'], ['pure'], ['test/a.test.ts']],
  ] as const;
  for (const [argv, suites, files] of table) {
    it(`${argv.join(' ') || 'nothing'} means ${suites.join(', ')}`, () => {
      assert.deepEqual(readOptions(argv), { suites, files });
    });
  }

  it('refuses an unknown flag', () => {
    assert.deepEqual(readOptions(['--fast']), { error: `unknown flag --fast\n${USAGE}` });
  });
});

describe('scripts/run-tests: suiteOf', () => {
  const table = [
    ['test/net/cidr.test.ts', 'pure'],
    ['test/netns/agent.test.ts', 'kernel'],
    ['test/e2e/kind.test.ts', undefined],
    ['test/support/fake.ts', undefined],
    ['src/x.test.ts', undefined],
  ] as const;
  for (const [path, suite] of table) it(`${path}: ${suite ?? 'none'}`, () => assert.equal(suiteOf(path), suite));
});

describe('scripts/run-tests: rounds', () => {
  it('runs by twos, after all others, what a busy machine troubles, and by itself what measures it', () => {
    const [[alone = ''], [pair = '', other = '']] = [[...ALONE], [...IN_PAIRS]];
    assert.deepEqual(rounds(['test/a.test.ts', alone, pair, 'test/b.test.ts', other], 4), [
      { files: ['test/a.test.ts', 'test/b.test.ts'], most: 4 },
      { files: [pair, other], most: 2 },
      { files: [alone], most: 1 },
    ]);
    assert.deepEqual(rounds([alone], 4), [{ files: [alone], most: 1 }]);
    assert.deepEqual(rounds([pair], 1), [{ files: [pair], most: 1 }]);
  });

  it('takes more files of the kernel than there are CPUs, for they wait; and never more than four', () => {
    assert.deepEqual(
      [1, 2, 3, 64].map((cpus) => [workersFor('pure', cpus), workersFor('kernel', cpus)]),
      [
        [2, 2],
        [3, 4],
        [4, 4],
        [4, 4],
      ],
    );
  });

  it('tries again by itself what failed beside others, and nothing else', () => {
    const [alone = ''] = ALONE;
    assert.deepEqual(againAlone(['test/a.test.ts', alone], 2), ['test/a.test.ts']);
    assert.deepEqual(againAlone(['test/a.test.ts', alone], 1), []);
  });

  it('begins with what takes longest', () => {
    const [longest = '', next = ''] = LONGEST;
    assert.deepEqual(
      rounds(['test/a.test.ts', next, 'test/b.test.ts', longest], 3).map(({ files }) => files),
      [[longest, next, 'test/a.test.ts', 'test/b.test.ts']],
    );
  });

  it('names files that are there', () => {
    for (const file of [...ALONE, ...IN_PAIRS, ...LONGEST]) assert.ok(existsSync(file), file);
    assert.deepEqual(
      [...LONGEST, ...IN_PAIRS].filter((file) => ALONE.has(file)),
      [],
    );
  });
});
