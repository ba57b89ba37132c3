/** The scenario tables at their third depth: the lab's API server, the real agent, real packets. */
import assert from 'node:assert/strict';
import type { Backend, Family } from '../../src/core/vocabulary.ts';
import type { DataplaneName } from '../../src/dataplane/dataplane-chooser.ts';
import type { Wiring } from '../../lab/network/types.ts';
import { SUITES } from '../scenarios/index.ts';
import { FAMILIES, hasOpenFamily } from './address-plan.ts';
import { CONVERGE_MS, LabScenarios, type ScenarioStats, topologyKey } from './lab-scenario.ts';
import { createTestLab, type TestLab } from './test-lab.ts';

/** One lab for all of them; each in both families. */
export function describeScenarios(backend: Backend, wiring: Wiring, dataplane: DataplaneName = 'iptables'): void {
  describe(`scenarios, real packets: ${[...(dataplane === 'nftables' ? [dataplane] : []), backend, wiring].join(', ')}`, function () {
    this.timeout(60_000);
    let made: TestLab;
    let runner: LabScenarios;
    const stats: ScenarioStats = { cells: 0, denied: 0, convergedMs: [], late: [] };

    before(async () => {
      made = await createTestLab({ backend, wiring, nodes: ['node-1', 'node-2'], dataplane });
      await made.lab.agents.ready(30_000);
      runner = new LabScenarios(made.lab, made.nextSecond);
    });

    after(async () => {
      await made?.lab.close();
      const sorted = stats.convergedMs.toSorted((a, b) => a - b);
      const at = (part: number): number =>
        Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
      console.log(
        `      ${stats.cells} cells, ${stats.denied} denied; from change to right matrix: ` +
          `median ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms; ${stats.late.length} of ${sorted.length} steps over ${CONVERGE_MS} ms ${stats.late.join('; ')}`,
      );
      assert.deepEqual(made?.problems ?? [], []);
    });

    for (const { name, scenarios } of SUITES) {
      describe(name, () => {
        for (const scenario of [...Map.groupBy(scenarios, topologyKey).values()].flat()) {
          const variants: readonly (readonly Family[])[] = hasOpenFamily(scenario.steps) ? [[4], [6]] : [FAMILIES];
          for (const families of variants) {
            it(`${scenario.id} ${scenario.title}${families.length > 1 ? '' : ` (IPv${families[0]})`}`, async () => {
              await runner.run(scenario, families, stats);
            });
          }
        }
      });
    }
  });
}
