/** What `portcullis lab` says before it needs root or Linux. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../../lab/main.ts', import.meta.url));

describe('portcullis lab, before it begins', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-lab-test-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  function lab(...args: readonly string[]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'lab', ...args], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH },
      timeout: 10_000,
    });
    return { status, stdout, stderr };
  }

  it('ends with 2 on wrong arguments, nothing on stdout', () => {
    const { status, stdout, stderr } = lab('-f', folder, '--wiring=overlay');
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /^portcullis lab: --wiring: "overlay" is not one of routed, bridge\n/);
  });

  it('ends with 1 on manifests that cannot be used, naming file, line, object and field, all of them at once', () => {
    const file = join(folder, 'wrong.yaml');
    writeFileSync(
      file,
      `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 203.0.113.0/33}}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: []}
`,
    );
    const broken = join(folder, 'broken.yaml');
    writeFileSync(broken, 'kind: [Pod\n');
    const { status, stdout, stderr } = lab('-f', folder);
    assert.deepEqual([status, stdout], [1, '']);
    const lines = stderr.trim().split('\n');
    assert.equal(lines.length, 3, stderr);
    assert.ok(
      lines.some((line) => line.startsWith(`! ${broken}:2: is not valid YAML`)),
      stderr,
    );
    assert.ok(
      lines.some(
        (line) =>
          line.startsWith(`! ${file}:4: document 1: `) && /"p".*spec\.egress\[0\]\.to\[0\]\.ipBlock\.cidr/.test(line),
      ),
      stderr,
    );
    assert.ok(
      lines.some((line) => line.startsWith(`! ${file}:9: document 2: `) && /"a".*spec\.containers/.test(line)),
      stderr,
    );
  });

  it('ends with 1 on a file that is not there', () => {
    const { status, stderr } = lab('-f', join(folder, 'nothing.yaml'));
    assert.equal(status, 1);
    assert.match(stderr, /nothing\.yaml.*does not exist/);
  });
});
