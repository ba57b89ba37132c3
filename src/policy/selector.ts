import {
  EVERYTHING,
  type Labels,
  type Problem,
  type Requirement,
  type Selector,
  type SelectorOperator,
  UNKNOWN_LABELS,
} from './model.ts';
import { isRecord, quote, unknownFields } from './raw-values.ts';

/** A problem before it is known to which object it belongs. */
export type FieldProblem = Pick<Problem, 'field' | 'message'>;

interface ParsedSelector {
  readonly selector: Selector;
  readonly problems: readonly FieldProblem[];
}

/** S-17, S-18: every requirement holds; comparison is exact and case-sensitive. Of unknown labels nothing is sure. */
export function matches(selector: Selector, labels: Labels): boolean {
  switch (selector.kind) {
    case 'nothing':
      return false;
    case 'all-of':
      if (labels === UNKNOWN_LABELS) return selector.requirements.length === 0;
      return selector.requirements.every((requirement) => holds(requirement, labels));
  }
}

/** As `matches`, but in doubt true. */
export function mayMatch(selector: Selector, labels: Labels): boolean {
  return labels === UNKNOWN_LABELS ? selector.kind !== 'nothing' : matches(selector, labels);
}

/** Whether something is so, where it may not be known. */
export type Certainty = 'yes' | 'maybe' | 'no';

/** Of labels that are not known anything may be so, but that they match what matches everything. */
export function certainty(selector: Selector, labels: Labels | undefined): Certainty {
  if (labels !== undefined && labels !== UNKNOWN_LABELS) return matches(selector, labels) ? 'yes' : 'no';
  if (selector.kind === 'nothing') return 'no';
  return selector.requirements.length === 0 ? 'yes' : 'maybe';
}

export function bothHold(a: Certainty, b: Certainty): Certainty {
  if (a === 'no' || b === 'no') return 'no';
  return a === 'maybe' || b === 'maybe' ? 'maybe' : 'yes';
}

/** S-17: of one term. */
export function holds(requirement: Requirement, labels: Labels): boolean {
  // Labels are plain objects and keys are what users wrote: `constructor` must not find Object.prototype.
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && holdsValue(requirement.values, value);
    case 'NotIn':
      return value === undefined || !holdsValue(requirement.values, value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/** `values` are sorted: a list of ten thousand is asked for each of thousands of pods. */
function holdsValue(values: readonly string[], value: string): boolean {
  let low = 0;
  for (let high = values.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (values[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return values[low] === value;
}

/**
 * The same text for selectors that differ only in the order or repetition of terms and values, different text otherwise.
 * All unusable selectors share one key: they match the same (nothing).
 */
export function selectorKey(selector: Selector): string {
  if (selector.kind === 'nothing') return 'nothing';
  const terms = selector.requirements.map(({ key, operator, values }) =>
    JSON.stringify([key, operator, ...[...new Set(values)].sort()]),
  );
  return `[${[...new Set(terms)].sort().join(',')}]`;
}

/**
 * Reads a LabelSelector that is present; what an absent one means is the caller's to say (S-15, S-16).
 * A selector with any term that cannot be used is wholly unusable and matches nothing (S-19): leaving the term out would
 * match more than was asked for. Odd keys and values are compared literally.
 */
export function parseSelector(raw: unknown, field: string): ParsedSelector {
  if (!isRecord(raw)) return unusable([{ field, message: `is ${quote(raw)}, not a label selector` }]);
  const problems: FieldProblem[] = unknownFields(raw, ['matchLabels', 'matchExpressions'], field);
  const requirements = [
    ...parseMatchLabels(raw.matchLabels ?? {}, `${field}.matchLabels`, problems),
    ...parseMatchExpressions(raw.matchExpressions ?? [], `${field}.matchExpressions`, problems),
  ];
  if (problems.length > 0) return unusable(problems);
  return { selector: requirements.length === 0 ? EVERYTHING : { kind: 'all-of', requirements }, problems };
}

function unusable(problems: readonly FieldProblem[]): ParsedSelector {
  const [first] = problems;
  return { selector: { kind: 'nothing', reason: `${first?.field} ${first?.message}` }, problems };
}

function parseMatchLabels(raw: unknown, field: string, problems: FieldProblem[]): Requirement[] {
  if (!isRecord(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not a map of labels` });
    return [];
  }
  const requirements: Requirement[] = [];
  for (const [key, value] of Object.entries(raw)) {
    if (typeof value === 'string') requirements.push({ key, operator: 'In', values: [value] });
    else problems.push({ field: `${field}[${quote(key)}]`, message: `is ${quote(value)}, not a string` });
  }
  return requirements;
}

function parseMatchExpressions(raw: unknown, field: string, problems: FieldProblem[]): Requirement[] {
  if (!Array.isArray(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not a list` });
    return [];
  }
  return raw.flatMap((entry: unknown, index) => parseExpression(entry, `${field}[${index}]`, problems) ?? []);
}

function parseExpression(raw: unknown, field: string, problems: FieldProblem[]): Requirement | undefined {
  if (!isRecord(raw)) {
    problems.push({ field, message: `is ${quote(raw)}, not an expression with key and operator` });
    return undefined;
  }
  for (const problem of unknownFields(raw, ['key', 'operator', 'values'], field)) problems.push(problem);
  const { key, operator } = raw;
  if (typeof key !== 'string' || key === '') {
    problems.push({ field: `${field}.key`, message: `is ${quote(key)}, not a label key` });
    return undefined;
  }
  const values = raw.values ?? [];
  if (!Array.isArray(values) || !values.every((value) => typeof value === 'string')) {
    problems.push({ field: `${field}.values`, message: `is ${quote(values)}, not a list of strings` });
    return undefined;
  }
  if (!isOperator(operator)) {
    const known = 'In, NotIn, Exists or DoesNotExist';
    problems.push({ field: `${field}.operator`, message: `is ${quote(operator)}, not ${known}` });
    return undefined;
  }
  const takesValues = operator === 'In' || operator === 'NotIn';
  if (takesValues !== values.length > 0) {
    const message = takesValues ? `must not be empty for ${operator}` : `must be empty for ${operator}`;
    problems.push({ field: `${field}.values`, message });
    return undefined;
  }
  return { key, operator, values: [...new Set(values)].sort() };
}

function isOperator(value: unknown): value is SelectorOperator {
  return value === 'In' || value === 'NotIn' || value === 'Exists' || value === 'DoesNotExist';
}
