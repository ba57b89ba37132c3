/** A little of `npm run torture`: one round that is the same each time, and as many others as fit into a few seconds. */
import assert from 'node:assert/strict';
import { kindText, type LabKind, runTorture } from '../fuzz/torture/torture.ts';
import { skipUnlessRoot } from '../support/agent-lab.ts';
import { chooseSeed } from '../property/runs.ts';

const RUNS: readonly (LabKind & { readonly seed: string; readonly round?: number; readonly storms: number })[] = [
  { dataplane: 'iptables', backend: 'iptables-nft', wiring: 'routed', seed: 'the same each time', round: 1, storms: 2 },
  { dataplane: 'iptables', backend: 'iptables-legacy', wiring: 'bridge', seed: chooseSeed().toString(16), storms: 2 },
  { dataplane: 'nftables', backend: 'iptables-nft', wiring: 'routed', seed: chooseSeed().toString(16), storms: 1 },
];

for (const { seed, round, storms, ...kind } of RUNS) {
  describe(`torture: ${kindText(kind)}`, function () {
    this.timeout(90_000);
    before(skipUnlessRoot);

    it(`packets follow random changes as the evaluator says (seed ${seed})`, async () => {
      const lines: string[] = [];
      const options = {
        seconds: 4,
        storms,
        seed,
        labs: [kind],
        print: (line: string) => lines.push(line),
      };
      const story = await runTorture({ ...options, ...(round === undefined ? {} : { round }) });
      assert.equal(story, undefined, lines.join('\n'));
      console.log(`      ${lines.at(-1)}`);
    });
  });
}
