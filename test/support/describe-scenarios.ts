/** The scenario tables at their third depth: the lab's API server, the real agent, real packets. */
import type { Family } from '../../src/core/vocabulary.ts';
import { Lab } from '../../lab/lab.ts';
import { SUITES } from '../scenarios/index.ts';
import { FAMILIES, hasOpenFamily } from '../support/address-plan.ts';
import { CONVERGE_MS, LabScenario, type ScenarioStats } from '../support/lab-scenario.ts';

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname;

/** Between them every backend and every wiring, each with every scenario in both families. */
const LABS = [
  { backend: 'iptables-nft', wiring: 'routed' },
  { backend: 'iptables-legacy', wiring: 'bridge' },
] as const;

for (const { backend, wiring } of LABS) {
  describe(`scenarios, real packets: ${backend}, ${wiring}`, function () {
    this.timeout(60_000);
    let lab: Lab;
    let clockOffsetMs = 0;
    const stats: ScenarioStats = { cells: 0, denied: 0, convergedMs: [], late: [] };
    const complaints: string[] = [];

    before(async () => {
      lab = await Lab.create({
        nodes: ['node-1', 'node-2'],
        wiring,
        families: FAMILIES,
        backend,
        mode: 'enforce',
        program: [process.execPath, MAIN],
        now: () => Date.now() + clockOffsetMs,
        onProblem: (message) => complaints.push(message),
      });
      await lab.agents.ready(30_000);
    });

    after(async () => {
      await lab?.close();
      const sorted = stats.convergedMs.toSorted((a, b) => a - b);
      const at = (part: number): number =>
        Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
      console.log(
        `      ${stats.cells} cells, ${stats.denied} denied; from change to right matrix: ` +
          `median ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms; ${stats.late.length} of ${sorted.length} steps over ${CONVERGE_MS} ms ${stats.late.join('; ')}`,
      );
      if (complaints.length > 0) throw new Error(complaints.join('\n'));
    });

    for (const { name, scenarios } of SUITES) {
      describe(name, () => {
        for (const scenario of scenarios) {
          const variants: readonly (readonly Family[])[] = hasOpenFamily(scenario.steps) ? [[4], [6]] : [FAMILIES];
          for (const families of variants) {
            it(`${scenario.id} ${scenario.title}${families.length > 1 ? '' : ` (IPv${families[0]})`}`, async () => {
              const advance = (): void => {
                clockOffsetMs += 1000;
              };
              await new LabScenario(lab, scenario, families, advance).run(stats);
            });
          }
        }
      });
    }
  });
}
