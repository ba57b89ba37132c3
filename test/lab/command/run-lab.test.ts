/** What `portcullis lab` says before it needs root or Linux. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

  it('builds kustomizations by kubectl, by itself where there is none, and says what neither can', () => {
    const at = join(folder, 'kustomized');
    const bin = join(folder, 'bin');
    for (const made of [at, bin]) mkdirSync(made);
    // The one thing wrong with what is built tells that it was.
    writeFileSync(join(at, 'pod.yaml'), 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n');
    const kustomization = (text: string): void => writeFileSync(join(at, 'kustomization.yaml'), text);
    const run = (path: string) =>
      spawnSync(process.execPath, [MAIN, 'lab', '-f', at], { encoding: 'utf8', env: { PATH: path }, timeout: 20_000 });
    kustomization('resources: [pod.yaml]\nlabels: [{pairs: {team: x}}]\n');
    assert.match(run(bin).stderr, /kustomized \(built\):1: item 1: Pod "a" is invalid: spec\.containers/);
    kustomization('resources: [pod.yaml]\nnamePrefix: x-\n');
    const refused = run(bin);
    assert.deepEqual([refused.status, refused.stdout], [1, '']);
    assert.match(
      refused.stderr,
      /no kubectl on PATH, and for the lab alone it is too much: .*namePrefix.*; give what it builds: kubectl kustomize /,
    );
    const script = (text: string): void => writeFileSync(join(bin, 'kubectl'), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    script(`echo 'kind: Pod'; echo 'apiVersion: v1'; echo "metadata: {name: '$1'}"`);
    assert.match(run(bin).stderr, /kustomized \(built\):1: Pod "kustomize" is invalid: spec\.containers/);
    script('echo "Error: accumulating resources: nothing there" >&2; exit 1');
    assert.match(run(bin).stderr, /cannot be built here: Error: accumulating resources: nothing there; give what/);
  }).timeout(60_000);

  it('ends with 1 on a file that is not there', () => {
    const { status, stderr } = lab('-f', join(folder, 'nothing.yaml'));
    assert.equal(status, 1);
    assert.match(stderr, /nothing\.yaml.*does not exist/);
  });
});
