/**
 * Suite *packet*: what rules cost the traffic between two pods of a node, against no rules and against a layout that looks for the
 * pod one after another. See docs/performance.md.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeMachine } from './machine.ts';
import { type Measured, type MeasureOptions, measure, TRAFFIC, type Traffic } from './packet/measure.ts';
import { DENIED, MANY_POLICIES, type Shape, shapes } from './packet/shapes.ts';
import { denialTable, packetTables, type ShapeResult, tierTables } from './packet/tables.ts';
import { closeAll, forDenials, forTiers, forTraffic, openVariants, type Wanted } from './packet/variants.ts';
import type { SuiteOptions, SuiteResult } from './types.ts';

const ROUNDS = 40;
const QUICK_ROUNDS = 3;
const PARTS = 16;
const PART_MS = 1.5;
const QUICK_PART_MS = 0.5;
const UNDER_TIERS: readonly Traffic[] = ['rr', 'bulk', 'crr', 'new'];
const WHAT_BEGINS: readonly Traffic[] = ['crr', 'new'];

export async function run(options: SuiteOptions): Promise<SuiteResult> {
  const { quick, rounds = quick ? QUICK_ROUNDS : ROUNDS } = options;
  const how = { rounds, parts: PARTS, partMs: quick ? QUICK_PART_MS : PART_MS };
  const results: ShapeResult[] = [];
  for (const shape of shapes(options)) {
    const traffic = shape.onlyNew ? WHAT_BEGINS : TRAFFIC;
    results.push({ shape, variants: await measureShape(shape, { ...how, traffic }, forTraffic(options)) });
  }
  const shape = quick ? shapes(options)[0]! : DENIED;
  const denied = await measureShape(shape, { ...how, traffic: ['denied'] }, forDenials(options));
  const tiered = quick ? shapes(options)[0]! : MANY_POLICIES;
  const tiers = await measureShape(tiered, { ...how, traffic: UNDER_TIERS }, forTiers(options));
  return {
    suite: 'packet',
    machine: describeMachine(),
    tables: [...packetTables(results), ...tierTables(tiered, tiers), denialTable(shape, denied)],
    raw: { ...how, results, denied, tiers },
  };
}

async function measureShape(shape: Shape, options: MeasureOptions, wanted: Wanted): Promise<readonly Measured[]> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-packet-'));
  try {
    const variants = await openVariants(shape, directory, wanted);
    try {
      return await measure(variants, options);
    } finally {
      await closeAll(variants);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
