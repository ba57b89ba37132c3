/** What happens to packets while something is done to the rules. */
import assert from 'node:assert/strict';
import type { LabRepeat } from '../../lab/network/types.ts';
import type { AgentLab } from './agent-lab.ts';

/**
 * Runs `work` under probes of new connections and a live flow: x/server is reached by x/friend and not by x/stranger. None of them may meet a
 * wrong verdict, nor the flow be silent for `silenceMs`.
 */
export async function friendUnderProbes(t: AgentLab, work: () => Promise<void>, silenceMs = 1_000): Promise<void> {
  const probes: readonly (readonly [string, LabRepeat])[] = [
    ['reached', await t.repeat('x/friend', 'x/server')],
    ['reached', await t.repeat('x/friend', 'x/server', 6, 'UDP')],
    ['blocked', await t.repeat('x/stranger', 'x/server')],
    ['blocked', await t.repeat('x/stranger', 'x/server', 6, 'UDP')],
  ];
  const flow = await t.flow('x/friend', 'x/server');
  await work();
  assert.ok((await flow.status()).longestSilenceMs < silenceMs, JSON.stringify(await flow.status()));
  for (const [wanted, probe] of probes) {
    const { counts, changes } = await probe.stop();
    const outcomes = changes.map(({ outcome }) => outcome);
    assert.deepEqual(outcomes, [wanted], JSON.stringify(counts));
  }
  await flow.close();
}
