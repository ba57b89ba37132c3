/** Test cases as JUnit's XML, which services that build and test show. */

export interface JUnitCase {
  readonly suite: string;
  readonly name: string;
  /** Present: it failed, and why. */
  readonly failure?: string;
  /** Present: it was not tried, and why. */
  readonly skipped?: string;
}

export function junitText(name: string, cases: readonly JUnitCase[], seconds: number): string {
  const suites = [...Map.groupBy(cases, ({ suite }) => suite)];
  const head = `${counts(cases)} time="${seconds.toFixed(3)}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="${escaped(name)}" ${head}>`,
    ...suites.flatMap(([suite, own]) => [
      `  <testsuite name="${escaped(suite)}" ${counts(own)}>`,
      ...own.flatMap(caseLines),
      '  </testsuite>',
    ]),
    '</testsuites>',
    '',
  ].join('\n');
}

function counts(cases: readonly JUnitCase[]): string {
  const failed = cases.filter(({ failure }) => failure !== undefined).length;
  const skipped = cases.filter(({ skipped: why }) => why !== undefined).length;
  return `tests="${cases.length}" failures="${failed}" errors="0" skipped="${skipped}"`;
}

function caseLines({ suite, name, failure, skipped }: JUnitCase): string[] {
  const head = `    <testcase classname="${escaped(suite)}" name="${escaped(name)}"`;
  if (failure !== undefined)
    return [
      `${head}>`,
      `      <failure message="${escaped(failure.split('\n', 1)[0]!)}">${escaped(failure)}</failure>`,
      '    </testcase>',
    ];
  if (skipped !== undefined) return [`${head}>`, `      <skipped message="${escaped(skipped)}"/>`, '    </testcase>'];
  return [`${head}/>`];
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** What XML 1.0 cannot hold becomes a question mark. */
function escaped(text: string): string {
  return text
    .replace(/[&<>"]/g, (found) => ENTITIES[found]!)
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '?');
}
