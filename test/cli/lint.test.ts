/** `portcullis lint` as a person, a program and a code scanner read it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { type CommandRun, runCommand } from '../support/command-line.ts';

const MANIFESTS = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: shop
  name: p
spec:
  podSelector: {}
  ingress:
    - from:
        - ipBlock:
            cidr: 203.0.113.7/24
    - from:
        - ipBlock:
            cidr: 192.0.2.300/24
`;

describe('portcullis lint', () => {
  let folder: string;
  let file: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'lint-'));
    file = join(folder, 'app.yaml');
    writeFileSync(file, MANIFESTS);
  });

  after(() => rmSync(folder, { recursive: true }));

  const lint = (...argv: readonly string[]): Promise<CommandRun> => runCommand(['lint', '-f', file, ...argv]);

  it('tells file, line and column, the object, why it matters and what to do', async () => {
    const { code, out, err } = await lint();
    assert.equal(err, '');
    assert.equal(
      out,
      `${file}:22:19: error: NetworkPolicy shop/p, spec.ingress[1].from[0].ipBlock.cidr: is "192.0.2.300/24", not a CIDR: the entry matches nothing
    what cannot be read isolates and allows nothing, or is left out, so less is allowed than was meant
    fix: write the field as the API describes it [unusable]

${file}:19:19: warning: NetworkPolicy shop/p, spec.ingress[0].from[0].ipBlock.cidr: 203.0.113.7/24 is read as 203.0.113.0/24
    bits behind the prefix length are ignored (S-29): the block may be another than was meant
    fix: write 203.0.113.0/24, or 203.0.113.7/32 for the one address [host-bits]

1 policy: 1 error, 1 warning, 0 info
`,
    );
    assert.equal(code, 1);
  });

  it('counts findings from a level on', async () => {
    assert.equal((await lint('--level', 'error')).out.split('\n').at(-2), '1 policy: 1 error, 0 warnings, 0 info');
    assert.equal((await lint('--fail-on', 'never')).code, 0);
    writeFileSync(file, MANIFESTS.replace('192.0.2.300', '192.0.2.0'));
    assert.equal((await lint('--fail-on', 'error')).code, 0);
    assert.equal((await lint()).code, 1);
    writeFileSync(file, MANIFESTS);
  });

  it('gives programs the same', async () => {
    const json = JSON.parse((await lint('-o', 'json')).out) as {
      readonly findings: readonly Record<string, unknown>[];
    };
    assert.deepEqual(parse((await lint('-o', 'yaml')).out), json);
    assert.deepEqual(
      json.findings.map(({ check, level, file: where, line, column, field }) => [
        check,
        level,
        where,
        line,
        column,
        field,
      ]),
      [
        ['unusable', 'error', file, 22, 19, 'spec.ingress[1].from[0].ipBlock.cidr'],
        ['host-bits', 'warning', file, 19, 19, 'spec.ingress[0].from[0].ipBlock.cidr'],
      ],
    );
  });

  it('gives code scanners SARIF', async () => {
    const { runs, version } = JSON.parse((await lint('-o', 'sarif')).out);
    assert.equal(version, '2.1.0');
    const [{ tool, results }] = runs;
    for (const { ruleId, ruleIndex } of results) assert.equal(tool.driver.rules[ruleIndex].id, ruleId);
    assert.deepEqual(results[1].locations[0].physicalLocation, {
      artifactLocation: { uri: file },
      region: { startLine: 19, startColumn: 19 },
    });
  });
});
