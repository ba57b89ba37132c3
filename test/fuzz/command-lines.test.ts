import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

function run(script: string, ...args: readonly string[]) {
  return spawnSync(process.execPath, [`scripts/${script}.ts`, ...args], { encoding: 'utf8' });
}

describe('command lines of soak and torture', () => {
  for (const script of ['soak', 'torture']) {
    it(`${script} --help tells the options on stdout`, () => {
      const { status, stdout, stderr } = run(script, '--help');
      assert.deepEqual([status, stderr], [0, '']);
      assert.match(stdout, new RegExp(`^usage: npm run ${script} -- `));
      for (const option of ['--seed', '--dataplane', '--backend', '--wiring'])
        assert.ok(stdout.includes(option), option);
    });

    it(`${script}: wrong usage is told on stderr, with the usage`, () => {
      const { status, stdout, stderr } = run(script, '--backend', 'none');
      assert.deepEqual([status, stdout], [2, '']);
      assert.match(stderr, new RegExp(`^--dataplane, --backend .*\nusage: npm run ${script} -- `));
    });
  }
});
