/** A little of `npm run torture`: one round that is the same each time, and as many others as fit into a few seconds. */
import assert from 'node:assert/strict';
import { type LabKind, runTorture } from '../fuzz/torture/torture.ts';
import { skipUnlessRoot } from '../support/agent-lab.ts';
import { chooseSeed } from '../property/runs.ts';

const RUNS: readonly (LabKind & { readonly seed: string; readonly round?: number })[] = [
  { backend: 'iptables-nft', wiring: 'routed', seed: 'the same each time', round: 1 },
  { backend: 'iptables-legacy', wiring: 'bridge', seed: chooseSeed().toString(16) },
];

for (const { backend, wiring, seed, round } of RUNS) {
  describe(`torture: ${backend}, ${wiring}`, function () {
    this.timeout(90_000);
    before(skipUnlessRoot);

    it(`packets follow random changes as the evaluator says (seed ${seed})`, async () => {
      const lines: string[] = [];
      const options = {
        seconds: 4,
        storms: 2,
        seed,
        labs: [{ backend, wiring }],
        print: (line: string) => lines.push(line),
      };
      const story = await runTorture({ ...options, ...(round === undefined ? {} : { round }) });
      assert.equal(story, undefined, lines.join('\n'));
      console.log(`      ${lines.at(-1)}`);
    });
  });
}
