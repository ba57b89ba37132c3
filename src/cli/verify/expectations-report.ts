/** Which expectations hold, in words, as data, and as test cases. */
import type { Paint } from '../paint.ts';
import type { Judged } from './expectations.ts';
import type { Probed, ProbedFlow } from './probe-expectations.ts';

import { flowText, wrongByPolicies } from './expectations.ts';
import { type JUnitCase, junitText } from './junit.ts';
import { VERIFICATION } from './report.ts';

export interface ExpectationReport {
  readonly judged: readonly Judged[];
  /** Present: packets decide. */
  readonly probed?: Probed;
  readonly seconds: number;
}

interface Result {
  readonly judged: Judged;
  /** Empty: it holds. */
  readonly wrong: readonly string[];
  /** Where packets did something else than the policies say. */
  readonly surprises: readonly string[];
  readonly skipped: readonly string[];
  readonly isSkipped: boolean;
}

export function isAsExpected(report: ExpectationReport): boolean {
  return resultsOf(report).every(({ wrong }) => wrong.length === 0);
}

/** Of what was probed. */
export function isAsPoliciesSay(report: ExpectationReport): boolean {
  return resultsOf(report).every(({ surprises }) => surprises.length === 0);
}

function resultsOf({ judged, probed }: ExpectationReport): readonly Result[] {
  return judged.map((each, index): Result => {
    if (each.problem !== undefined)
      return { judged: each, wrong: [each.problem], surprises: [], skipped: [], isSkipped: false };
    const flows = probed?.[index];
    if (!flows) return { judged: each, wrong: wrongByPolicies(each), surprises: [], skipped: [], isSkipped: false };
    const skipped = [...new Set(flows.flatMap((flow) => flow.skipped ?? []))];
    return {
      judged: each,
      wrong: flows.flatMap((flow) => wrongByPacket(flow, each.expectation.reach)),
      surprises: flows.flatMap(surprise),
      skipped,
      isSkipped: flows.every((flow) => flow.skipped !== undefined),
    };
  });
}

function wrongByPacket({ answer, family, seen, skipped }: ProbedFlow, reach: boolean): string[] {
  if (skipped !== undefined || seen === (reach ? 'reached' : 'blocked')) return [];
  const said = {
    reached: 'reaches',
    blocked: 'is not answered',
    refused: 'is refused: nobody listens there, or something rejects it',
    failed: 'could not be tried: the image has no client that works',
  };
  const text = seen === undefined ? 'is not answered for in time' : said[seen];
  return [`${flowText({ ...answer, families: [family] })} ${text}`];
}

function surprise({ answer, family, seen, skipped }: ProbedFlow): string[] {
  if (skipped !== undefined || seen === undefined || seen === 'failed') return [];
  const { allowed } = answer.explanation;
  const isAsSaid = allowed ? seen !== 'blocked' : seen !== 'reached';
  const flow = flowText({ ...answer, families: [family] });
  return isAsSaid
    ? []
    : [`${flow} ${seen === 'reached' ? 'reaches' : 'is blocked'}, and policies ${allowed ? 'allow' : 'deny'} it`];
}

export function expectationsText(report: ExpectationReport, paint: Paint): string {
  const results = resultsOf(report);
  const failed = results.filter(({ wrong }) => wrong.length > 0).length;
  const skipped = results.filter(({ isSkipped }) => isSkipped).length;
  const by = report.probed ? 'by packets' : 'by policies';
  const rest = skipped > 0 ? `, ${skipped} not probed` : '';
  return [
    ...results.flatMap((result) => resultLines(result, paint)),
    `${results.length - failed - skipped} of ${results.length} expectations hold ${by}${rest}`,
    '',
  ].join('\n');
}

function resultLines({ judged: { title }, wrong, surprises, skipped, isSkipped }: Result, paint: Paint): string[] {
  const mark =
    wrong.length > 0 ? paint('red', 'FAILED') : isSkipped ? paint('yellow', 'skipped') : paint('green', 'ok');
  return [
    `${mark}  ${title}`,
    ...wrong.map((text) => `  ${text}`),
    ...surprises.map((text) => `  ${paint('alarm', 'DISAGREES')}: ${text}`),
    ...skipped.map((text) => `  not probed: ${text}`),
  ];
}

/** Stable, as other data of the command. */
export function expectationsData(report: ExpectationReport): unknown {
  const results = resultsOf(report);
  return {
    ...VERIFICATION,
    by: report.probed ? 'packets' : 'policies',
    ok: isAsExpected(report),
    seconds: report.seconds,
    expectations: results.map(({ judged: { expectation, title, answers }, wrong, surprises, skipped, isSkipped }) => ({
      title,
      at: expectation.at,
      from: expectation.from,
      to: expectation.to,
      reach: expectation.reach,
      result: wrong.length > 0 ? 'failed' : isSkipped ? 'skipped' : 'ok',
      flows: answers.length,
      wrong,
      disagreements: surprises,
      notProbed: skipped,
    })),
  };
}

export function expectationsJUnit(report: ExpectationReport): string {
  const cases = resultsOf(report).map(({ judged, wrong, surprises, skipped, isSkipped }): JUnitCase => {
    const said = [...wrong, ...surprises];
    return {
      suite: judged.expectation.at.replace(/: expect\[\d+\]$/, ''),
      name: judged.title,
      ...(said.length > 0 ? { failure: said.join('\n') } : {}),
      ...(said.length === 0 && isSkipped ? { skipped: skipped.join('; ') } : {}),
    };
  });
  return junitText('portcullis verify', cases, report.seconds);
}
