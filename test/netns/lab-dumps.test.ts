/** `portcullis lab -f DUMP`: clusters as kubectl prints them, judged in the lab as they were judged where they came from. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseManifests, snapshotFromObjects } from '../../src/cluster/read-manifests.ts';
import { PROTOCOL_NUMBER, type Protocol } from '../../src/core/vocabulary.ts';
import { familyOf } from '../../src/net/ip.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';

const MAIN = fileURLToPath(new URL('../../lab/main.ts', import.meta.url));

interface Report {
  readonly ok: boolean;
  readonly lab: { readonly nodes: readonly string[]; readonly families: readonly number[] };
  readonly endpoints: readonly { readonly name: string; readonly kind: string; readonly hostNetwork: boolean }[];
  readonly cells: readonly {
    readonly from: string;
    readonly to: string;
    readonly family: number;
    readonly protocol: Protocol;
    readonly port: number;
    readonly predicted: string;
  }[];
}

/** The dump on standard input, as from a pipe of kubectl. */
async function lab(
  text: string,
  ...args: readonly string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, 'lab', '-f', '-', '--no-steps', '-o', 'json', ...args]);
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (said.stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (said.stderr += chunk));
  child.stdin.end(text);
  const code = await new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? 128)));
  return { code, ...said };
}

describe('clusters as kubectl prints them', function () {
  this.timeout(180_000);
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });

  for (const [name, nodes, families] of [
    ['eks', 3, [4]],
    ['kind', 2, [4, 6]],
    ['shop', 2, [4]],
    ['workloads', 5, [4]],
  ] as const)
    it(`${name}: comes up as it is, and every verdict between its pods is the one it had there`, async () => {
      const text = readFileSync(fileURLToPath(new URL(`../lab/dumps/${name}.yaml`, import.meta.url)), 'utf8');
      const { code, stdout, stderr } = await lab(text);
      assert.equal(code, 0, stderr + stdout.slice(0, 2_000));
      const report = JSON.parse(stdout) as Report;
      assert.ok(report.ok);
      assert.deepEqual([report.lab.nodes.length, report.lab.families], [nodes, families]);

      const there = snapshotFromObjects(parseManifests(text, name).objects, { defaultNamespace: 'default' });
      const evaluator = createEvaluator(there);
      const onHost = new Set(
        report.endpoints.filter(({ hostNetwork }) => hostNetwork).map((endpoint) => endpoint.name),
      );
      const addressOf = (pod: string, family: number): string | undefined =>
        onHost.has(pod) ? undefined : there.pods.get(pod)?.addresses.find((address) => familyOf(address) === family);
      let compared = 0;
      for (const { from, to, family, protocol, port, predicted } of report.cells) {
        const [source, destination] = [addressOf(from, family), addressOf(to, family)];
        if (source === undefined || destination === undefined) continue;
        compared += 1;
        const { allowed } = evaluator.evaluate({ source, destination, protocol: PROTOCOL_NUMBER[protocol], port });
        assert.equal(predicted, allowed ? 'allowed' : 'denied', `${from} -> ${to} ${protocol} ${port} IPv${family}`);
      }
      assert.ok(compared > 50, `${compared} of ${report.cells.length} cells are between pods of the dump`);
      assert.ok(report.cells.some((cell) => cell.predicted === 'denied') && report.cells.length > compared);
    });
});
