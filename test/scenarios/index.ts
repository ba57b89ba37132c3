import type { Scenario } from './scenario.ts';
import { FACTS } from './facts.ts';
import { GAPS } from './gaps.ts';
import { RECIPES } from './recipes.ts';
import { UPSTREAM } from './upstream.ts';

export interface Suite {
  readonly name: string;
  readonly scenarios: readonly Scenario[];
}

export const SUITES: readonly Suite[] = [
  { name: 'upstream e2e (E, U, P)', scenarios: UPSTREAM },
  { name: 'recipes (R)', scenarios: RECIPES },
  { name: 'facts (F)', scenarios: FACTS },
  { name: 'gaps (G)', scenarios: GAPS },
];
