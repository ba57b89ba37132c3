/**
 * A program for tests: counts flows by netlink in the network namespace it is started in. Arguments: family, mark and mask, for each question.
 * Prints JSON: the answers.
 */
import type { Family } from '../../src/core/vocabulary.ts';
import { openFlowCounter } from '../../src/host/flow-counter.ts';

const counter = openFlowCounter();
const numbers = process.argv.slice(2).map(Number);
const counts: unknown[] = [];
for (let at = 0; at < numbers.length; at += 3) {
  const [family, value, mask] = numbers.slice(at, at + 3) as [Family, number, number];
  counts.push((await counter.count(family, { value, mask })) ?? null);
}
process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0));
