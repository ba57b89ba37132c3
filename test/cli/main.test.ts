import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** A process starts in a second, and in many where others take all processors. */
const START_MS = 60_000;

function main(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...env },
    timeout: START_MS,
    // An agent that is asked to end ends well.
    killSignal: 'SIGKILL',
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

describe('src/main.ts', function () {
  this.timeout(2 * START_MS);

  it('prints the version of package.json', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      readonly version: string;
    };
    assert.deepEqual(main(['--version']), { status: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('ends with 2 on wrong usage, nothing on stdout', () => {
    const { status, stdout, stderr } = main(['agent'], { NODE_NAME: 'node-1', PORTCULLIS_BACKEND: 'nft' });
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /^portcullis agent: PORTCULLIS_BACKEND: "nft" is not one of /);
  });

  it('lists no lab, which is no part of the product', () => {
    const { status, stdout } = main(['--help']);
    assert.equal(status, 0);
    assert.doesNotMatch(stdout, /lab/);
  });

  it('writes all that a slow reader of a pipe asks for', () => {
    const folders = ['three-tier', 'basics', 'namespaces', 'egress'].flatMap((name) => [
      '-f',
      `${ROOT}examples/${name}`,
    ]);
    const run = `"$@" | { sleep 1; wc -c; }`;
    const argv = ['-c', run, 'sh', process.execPath, MAIN, 'matrix', ...folders, '-o', 'csv'];
    const { stdout } = spawnSync('sh', argv, { encoding: 'utf8' });
    const whole = main(['matrix', ...folders, '-o', 'csv']).stdout;
    assert.ok(whole.length > 65_536, `${whole.length}`);
    assert.equal(Number(stdout), Buffer.byteLength(whole));
  });

  it('ends with 1 and one readable line when the agent cannot start', () => {
    const { status, stdout, stderr } = main([
      'agent',
      '--node-name=node-1',
      '--kubeconfig=/nonexistent/config',
      '--http-address=off',
    ]);
    assert.equal(status, 1);
    assert.match(stdout + stderr, /\/nonexistent\/config/);
    assert.doesNotMatch(stdout + stderr, /\n {4}at /);
  });
});
