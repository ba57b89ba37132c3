import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { needTool } from '../support/test-tools.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const SCRIPTS = [
  '.ci/run',
  ...readdirSync(join(ROOT, 'scripts'))
    .filter((name) => !name.includes('.'))
    .map((name) => `scripts/${name}`),
];

describe('shell scripts', function () {
  this.timeout(60_000);

  it('are all checked for syntax with the rest', () => {
    const checks = readFileSync(join(ROOT, 'scripts/run-tests.ts'), 'utf8');
    for (const script of SCRIPTS) assert.ok(checks.includes(`'${script}'`), script);
  });

  it('shellcheck finds nothing', function () {
    const shellcheck = needTool(this, 'shellcheck');
    assert.ok(SCRIPTS.length > 5);
    execFileSync(shellcheck, ['--external-sources', ...SCRIPTS], { cwd: ROOT, stdio: 'pipe', encoding: 'utf8' });
  });
});
