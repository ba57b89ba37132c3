/** Findings in words for people, as data for programs, and as SARIF for code scanning. */
import type { ManifestObject } from '../../cluster/read-manifests.ts';
import type { FieldPath, Finding } from '../../policy/lint.ts';
import type { Paint } from '../paint.ts';

import { CHECK_NAMES, CHECKS, fieldOf, LEVELS } from '../../policy/lint.ts';

export interface Placed {
  readonly finding: Finding;
  readonly from: ManifestObject | undefined;
}

interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

const STYLES = { error: 'red', warning: 'yellow', info: 'dim' } as const;

export function findingsText(placed: readonly Placed[], policies: number, paint: Paint): string {
  const lines = placed.map((each) => {
    const { check, object, path, message, fix } = each.finding;
    const [level, why] = CHECKS[check];
    const place = placeOf(each);
    const at = place ? `${place.file}:${place.line}:${place.column}: ` : '';
    return [
      `${paint('bold', at)}${paint(STYLES[level], level)}: ${object.kind} ${nameOf(object)}, ${fieldOf(path)}: ${message}`,
      `    ${paint('dim', why)}`,
      `    fix: ${fix} [${check}]`,
      '',
    ].join('\n');
  });
  const counts = LEVELS.map((level) => {
    const count = placed.filter(({ finding }) => CHECKS[finding.check][0] === level).length;
    return `${count} ${level}${count === 1 || level === 'info' ? '' : 's'}`;
  });
  return `${lines.join('\n')}${lines.length > 0 ? '\n' : ''}${policies} ${policies === 1 ? 'policy' : 'policies'}: ${counts.join(', ')}\n`;
}

/** Without a namespace where it has none. */
function nameOf({ namespace, name }: Finding['object']): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** Of the field, or of what is nearest around it. Undefined: the object is a running cluster's. */
function placeOf({ finding, from }: Placed): Place | undefined {
  if (!from?.positionAt) return undefined;
  for (let path: FieldPath = finding.path; ; path = path.slice(0, -1)) {
    const found = from.positionAt(path);
    if (found) return { file: from.file, ...found };
    if (path.length === 0) return { file: from.file, line: from.line, column: 1 };
  }
}

export function findingsData(placed: readonly Placed[]): unknown {
  return {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'LintReport',
    findings: placed.map((each) => {
      const { check, object, path, message, fix } = each.finding;
      const [level, why] = CHECKS[check];
      return { check, level, object, field: fieldOf(path), message, why, fix, ...placeOf(each) };
    }),
  };
}

const SARIF_LEVEL = { error: 'error', warning: 'warning', info: 'note' } as const;

/** SARIF 2.1.0 (OASIS). */
export function sarif(placed: readonly Placed[], version: string): unknown {
  return {
    $schema: 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'portcullis',
            version,
            rules: CHECK_NAMES.map((id) => ({
              id,
              shortDescription: { text: CHECKS[id][1] },
              defaultConfiguration: { level: SARIF_LEVEL[CHECKS[id][0]] },
            })),
          },
        },
        results: placed.map((each) => {
          const { check, object, path, message, fix } = each.finding;
          const place = placeOf(each);
          const fullyQualifiedName = `${object.kind}/${nameOf(object)}/${fieldOf(path)}`;
          return {
            ruleId: check,
            ruleIndex: CHECK_NAMES.indexOf(check),
            level: SARIF_LEVEL[CHECKS[check][0]],
            message: { text: `${message}. To mend it: ${fix}.` },
            locations: [
              {
                ...(place
                  ? {
                      physicalLocation: {
                        artifactLocation: { uri: place.file },
                        region: { startLine: place.line, startColumn: place.column },
                      },
                    }
                  : {}),
                logicalLocations: [{ fullyQualifiedName }],
              },
            ],
          };
        }),
      },
    ],
  };
}
