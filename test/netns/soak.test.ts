/** A little of `npm run soak`: random changes and faults for a few seconds. */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runSoak } from '../fuzz/torture/soak.ts';
import { NEIGHBOURS } from '../fuzz/torture/soak-faults.ts';
import { chooseSeed } from '../property/runs.ts';
import { skipUnlessRoot } from '../support/agent-lab.ts';

describe('fault: a soak of random changes and faults', function () {
  this.timeout(180_000);
  before(skipUnlessRoot);

  it('shows no wrong packet, no leftover and no growth', async () => {
    const seed = chooseSeed().toString(16);
    const lines: string[] = [];
    const { stats, found } = await runSoak({
      seconds: 20,
      seed,
      rate: 100,
      dataplane: 'iptables',
      backend: 'iptables-nft',
      wiring: 'routed',
      without: NEIGHBOURS,
      print: (line) => lines.push(line),
      evidenceDir: join(tmpdir(), `portcullis-soak-test-${process.pid}`),
    });
    assert.deepEqual(found, [], `seed ${seed}\n${lines.join('\n')}`);
    assert.ok(stats.probes > 0 && stats.events > 0 && stats.faults.size > 0, lines.join('\n'));
    console.log(`      ${lines.at(-1)}`);
  });
});
